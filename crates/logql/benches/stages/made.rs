//! Lines in the shapes of the corpora, with values that look random and are the same in every run.

use crate::Lines;

/// Numbers that look random.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % n
    }

    fn hex(&mut self, digits: usize) -> String {
        let digit = |_| char::from_digit(self.below(16) as u32, 16).unwrap_or('0');
        (0..digits).map(digit).collect()
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(from.len() as u64) as usize;
        from.get(at).copied().unwrap_or_default()
    }

    fn address(&mut self) -> String {
        let mut part = || self.below(256);
        format!("10.{}.{}.{}", part(), part(), part())
    }
}

const LEVELS: [&str; 8] = [
    "info", "info", "info", "info", "info", "debug", "warn", "error",
];
const METHODS: [&str; 4] = ["GET", "GET", "POST", "DELETE"];
const PATHS: [&str; 4] = [
    "/api/v1/items",
    "/api/v1/users/42/documents?page=3&limit=50",
    "/search?q=log+lines",
    "/static/naba/coryowi.f4ed2f05.png",
];
const CALLERS: [&str; 3] = ["search/client.go:331", "auth/queue.go:94", "http.go:7"];
const MESSAGES: [&str; 3] = [
    "webhook rejected for message batch",
    "job enqueued by scheduler",
    "workflow step resolved from search service",
];
const AGENTS: [&str; 3] = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 16_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)",
    "python-requests/2.25.0",
    "containerd/v1.6.7",
];

/// Lines of all shapes, in turn.
pub(crate) fn lines() -> Lines {
    let mut lines = Lines::default();
    let mut numbers = Numbers(7);
    let shapes = [json, audit, logfmt, access, klog, json, logfmt, access];
    for shape in shapes.iter().cycle() {
        lines.add(&shape(&mut numbers));
        if lines.is_full() {
            break;
        }
    }
    lines
}

fn json(n: &mut Numbers) -> String {
    let mut line = format!(
        "{{\"level\":\"{}\",\"ts\":\"2026-01-15T00:33:16.{:06}Z\",\"logger\":\"cart\",\"caller\":\"{}\"",
        n.pick(&LEVELS),
        n.below(1_000_000),
        n.pick(&CALLERS)
    );
    line += &match n.below(2) {
        0 => format!(
            ",\"msg\":\"request completed\",\"method\":\"{}\",\"path\":\"{}\",\"status\":{},\"duration_ms\":{}.{:03},\"bytes\":{},\"remote_ip\":\"{}\"",
            n.pick(&METHODS),
            n.pick(&PATHS),
            200 + n.below(400),
            n.below(100),
            n.below(1000),
            n.below(100_000),
            n.address()
        ),
        _ => format!(",\"msg\":\"{}\"", n.pick(&MESSAGES)),
    };
    line + &format!(
        ",\"user_id\":\"u-{}\",\"tenant\":\"najo-eu\",\"trace_id\":\"{}\",\"span_id\":\"{}\"}}",
        n.below(10_000_000),
        n.hex(32),
        n.hex(16)
    )
}

fn audit(n: &mut Numbers) -> String {
    format!(
        "{{\"kind\":\"Event\",\"apiVersion\":\"audit.k8s.io/v1\",\"level\":\"Metadata\",\"auditID\":\"{}\",\"stage\":\"ResponseComplete\",\"requestURI\":\"/api/v1/namespaces/shop/pods\",\"verb\":\"list\",\"user\":{{\"username\":\"u-{}\",\"groups\":[\"system:authenticated\",\"dev\"]}},\"sourceIPs\":[\"{}\"],\"objectRef\":{{\"resource\":\"pods\",\"namespace\":\"shop\",\"apiVersion\":\"v1\"}},\"responseStatus\":{{\"metadata\":{{}},\"code\":{}}}}}",
        n.hex(32),
        n.below(500),
        n.address(),
        200 + n.below(400)
    )
}

fn logfmt(n: &mut Numbers) -> String {
    let start = format!(
        "ts=2026-01-15T00:33:16.{:09}Z caller={} level={} component=query-frontend",
        n.below(1_000_000_000),
        n.pick(&CALLERS),
        n.pick(&LEVELS)
    );
    let end = match n.below(5) {
        0 | 1 => format!(
            "msg=\"{}\" shard={} offset={}",
            n.pick(&MESSAGES),
            n.below(64),
            n.below(1 << 32)
        ),
        _ => format!(
            "tenant=miullo-eu traceID={} method={} route={} status={} duration_ms={}.{:02} bytes={} msg=\"GET ok\"",
            n.hex(32),
            n.pick(&METHODS),
            n.pick(&PATHS),
            200 + n.below(400),
            n.below(100),
            n.below(100),
            n.below(100_000)
        ),
    };
    format!("{start} {end}")
}

fn access(n: &mut Numbers) -> String {
    format!(
        "{} - - [15/Jan/2026:00:33:16 +0000] \"{} {} HTTP/1.1\" {} {} \"-\" \"{}\" {} 0.{:03} [shop-8080] [] {}:8080 {} 200 {}",
        n.address(),
        n.pick(&METHODS),
        n.pick(&PATHS),
        200 + n.below(400),
        n.below(100_000),
        n.pick(&AGENTS),
        n.below(2000),
        n.below(1000),
        n.address(),
        n.below(100_000),
        n.hex(32)
    )
}

fn klog(n: &mut Numbers) -> String {
    format!(
        "I0115 00:33:16.{:06}       1 client.go:{}] \"{}\" controller=\"jobs\" object=\"shop/cart-{}\" reconcileID=\"{}\"",
        n.below(1_000_000),
        n.below(900),
        n.pick(&MESSAGES),
        n.hex(10),
        n.hex(32)
    )
}
