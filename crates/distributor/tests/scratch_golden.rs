#![allow(missing_docs, unused)]
mod support;
use std::collections::BTreeSet;
use std::io::Write;
use base64::Engine;
use model::Limits;
use serde_json::Value;
use support::*;

fn encode(body: Vec<u8>, how: &str) -> Vec<u8> {
    match how {
        "gzip" => { let mut e = flate2::write::GzEncoder::new(Vec::new(), Default::default()); e.write_all(&body).unwrap(); e.finish().unwrap() }
        "zlib" => { let mut e = flate2::write::ZlibEncoder::new(Vec::new(), Default::default()); e.write_all(&body).unwrap(); e.finish().unwrap() }
        "deflate" => { let mut e = flate2::write::DeflateEncoder::new(Vec::new(), Default::default()); e.write_all(&body).unwrap(); e.finish().unwrap() }
        "snappy" => snap::raw::Encoder::new().compress_vec(&body).unwrap(),
        "" => body,
        x => panic!("{x}"),
    }
}

#[tokio::test]
async fn golden() {
    let dir = "/work/shared/conformance";
    let overrides: Value = serde_json::from_str(&std::fs::read_to_string("/tmp/overrides.json").unwrap()).unwrap();
    let (mut good, mut bad, mut exact) = (0, 0, 0);
    for category in ["push_json", "push_labels", "push_limits", "push_protobuf", "push_legacy", "otlp", "limits"] {
        let q: Value = serde_json::from_str(&std::fs::read_to_string(format!("{dir}/public/queries/{category}.json")).unwrap()).unwrap();
        let g: Value = serde_json::from_str(&std::fs::read_to_string(format!("{dir}/public/golden/{category}.json")).unwrap()).unwrap();
        for case in q["cases"].as_array().unwrap() {
            let id = case["id"].as_str().unwrap();
            let tenant = case["tenant"].as_str().unwrap_or("");
            let mut limits = serde_json::json!({"reject_old_samples": false});
            if let Some(o) = overrides["overrides"].get(tenant) { for (k, v) in o.as_object().unwrap() { limits[k] = v.clone(); } }
            let limits: Limits = serde_json::from_value(limits).unwrap();
            let endpoint = Endpoint::new(limits);
            let steps: Vec<Value> = case["steps"].as_array().cloned().unwrap_or_else(|| vec![case.clone()]);
            for (i, step) in steps.iter().enumerate() {
                let golden = if g["cases"][id]["result"]["steps"].is_array() { g["cases"][id]["result"]["steps"][i].clone() } else { g["cases"][id]["result"].clone() };
                let path = step["path"].as_str().unwrap();
                if path.contains("push") || path.contains("otlp") {
                    if step["method"] != "POST" || tenant.is_empty() { continue; }
                    let body = &step["body"];
                    let mut bytes = match body {
                        Value::String(s) => {
                            let mut s = s.clone();
                            while let Some(at) = s.find("$T{ns:") { let end = at + s[at..].find('}').unwrap(); let n: i64 = s[at+6..end].trim_start_matches('+').parse().unwrap(); let t = NOW_NS + n * 1_000_000_000; s = format!("{}{}{}", &s[..at], t, &s[end+1..]); }
                            s.into_bytes()
                        }
                        Value::Object(o) if o.contains_key("repeat") => { let r = o["repeat"].as_array().unwrap(); format!("{}{}{}", r[0].as_str().unwrap(), r[1].as_str().unwrap().repeat(r[2].as_u64().unwrap() as usize), r[3].as_str().unwrap()).into_bytes() }
                        Value::Object(o) if o.contains_key("b64") => base64::engine::general_purpose::STANDARD.decode(o["b64"].as_str().unwrap()).unwrap(),
                        Value::Object(o) => {
                            use prost::Message; use proto::logproto as p;
                            let req = p::PushRequest { format: String::new(), streams: o["proto"].as_array().unwrap().iter().map(|s| p::StreamAdapter { labels: s[0].as_str().unwrap().into(), hash: 0, entries: s[1].as_array().unwrap().iter().map(|e| { let ns: i64 = e[0].as_str().unwrap().parse().unwrap(); p::EntryAdapter { timestamp: Some(p::Timestamp { seconds: ns / 1_000_000_000, nanos: (ns % 1_000_000_000) as i32 }), line: e[1].as_str().unwrap().as_bytes().to_vec().into(), structured_metadata: vec![], parsed: vec![] } }).collect() }).collect() };
                            req.encode_to_vec()
                        }
                        _ => vec![],
                    };
                    bytes = encode(bytes, step["encode"].as_str().unwrap_or(""));
                    let headers: Vec<(String, String)> = step["headers"].as_object().map(|h| h.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap().to_owned())).collect()).unwrap_or_default();
                    let h: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
                    let a = endpoint.post(path, &h, bytes).await;
                    let want = golden["status"].as_u64().unwrap() as u16;
                    let text = a.text().replace("user t ", &format!("user {tenant} ")).replace("user 't'", &format!("user '{tenant}'"));
                    let mut wtext = golden["text"].as_str().unwrap_or("").to_owned();
                    let re = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap();
                    let lib = regex::Regex::new(r"error found in #\d+ byte of|\(\*\w+\.\w+\)|no schema config found|^snappy: |^gzip: |^EOF$|unexpected EOF|^proto: |ReadMapCB|could not write JSON|[Rr]ead[A-Z]\w+: |skipThreeBytes|invalid media|^mime: |cannot parse|expect \x22").unwrap();
                    let norm = |s: &str| re.replace_all(s, "<time>").into_owned();
                    let ok_status = a.status == want || (want == 500 && a.status >= 400);
                    let ok_text = norm(&text) == norm(&wtext) || lib.is_match(&wtext) || want == 500;
                    if norm(&text) == norm(&wtext) { exact += 1; }
                    if ok_status && ok_text { good += 1 } else { bad += 1; println!("{id} {}: {} {:?}\n   want {want} {:?}", case["about"], a.status, text, wtext); }
                } else if let Some(params) = step["params"].as_array() {
                    let Some(query) = params.iter().find(|p| p[0] == "query").map(|p| p[1].as_str().unwrap().to_owned()) else { continue };
                    let Some(c) = regex::Regex::new(r#"^\{(case|service_name)="([^"]*)"\}$"#).unwrap().captures(&query) else { continue };
                    let needle = format!("{}=\"{}\"", &c[1], &c[2]);
                    if golden["status"] != 200 { continue; }
                    let mut want = BTreeSet::new();
                    for s in golden["json"]["data"]["result"].as_array().unwrap() { for v in s["values"].as_array().unwrap() { want.insert((serde_json::to_string(&s["stream"]).unwrap(), v[0].as_str().unwrap().to_owned(), v[1].as_str().unwrap().to_owned())); } }
                    let mut have = BTreeSet::new();
                    for (stream, ts, line, meta) in endpoint.fakes.rows() {
                        if !stream.contains(&needle) { continue; }
                        let mut all: std::collections::BTreeMap<String, Value> = Default::default();
                        let pre = regex::Regex::new(r#"(\w+)=("(?:[^"\\]|\\.)*")"#).unwrap();
                        let lit = |s: &str| -> String { serde_json::from_str(&s.replace("\\x00", "\\u0000").replace("\\x", "\\u00")).unwrap() };
                        for m in pre.captures_iter(&stream) { all.insert(m[1].into(), lit(&m[2]).into()); }
                        for m in pre.captures_iter(&meta) { let k = if all.contains_key(&m[1]) { format!("{}_extracted", &m[1]) } else { m[1].into() }; all.insert(k, lit(&m[2]).into()); }
                        have.insert((serde_json::to_string(&all).unwrap(), ts.to_string(), line));
                    }
                    if want == have { good += 1 } else { bad += 1; println!("{id} {} {query}\n   have {have:?}\n   want {want:?}", case["about"]); }
                }
            }
        }
    }
    println!("good {good} bad {bad} exact texts {exact}");
}
