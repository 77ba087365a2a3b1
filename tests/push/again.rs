//! Lines that are pushed again count once, wherever the first are by then.

use anyhow::ensure;
use tests::lines::{SECOND_NS, labels, lines, now_ns};
use tests::server::Server;

/// What counts lines and their bytes, with filters and stages and without.
const QUERIES: [&str; 4] = [
    r#"sum(count_over_time({app="again"}[1h]))"#,
    r#"sum(bytes_over_time({app="again"}[1h]))"#,
    r#"sum(count_over_time({app="again"} |= "number=1" [1h]))"#,
    r#"sum(sum_over_time({app="again"} | logfmt | unwrap number [1h]))"#,
];

async fn answers(server: &Server, at_ns: i64) -> anyhow::Result<Vec<f64>> {
    let (api, mut answers) = (server.api(), Vec::new());
    for query in QUERIES {
        answers.push(api.instant(query, at_ns).await?);
    }
    Ok(answers)
}

#[tokio::test]
async fn lines_that_are_stored_and_in_memory_count_once() -> anyhow::Result<()> {
    let env = [
        ("SKALD_COMPACTOR_ENABLED", "false"),
        ("SKALD_LIMITS_OUT_OF_ORDER_WINDOW", "1h"),
    ];
    let mut server = Server::start(&env).await?;
    let base_ns = now_ns() - 60 * SECOND_NS;
    let push = async |server: &Server, from, to| {
        for writer in 0..3 {
            let lines = lines(writer, from, to, base_ns);
            let (status, text) = server.api().push(&labels("again", writer), &lines).await?;
            ensure!(status == 204, "{text}");
        }
        Ok(())
    };
    push(&server, 0, 2000).await?;
    let expected = answers(&server, now_ns()).await?;
    assert_eq!((expected[0], expected[2]), (6000.0, 3.0 * 1111.0));
    server.api().flush().await?;
    assert_eq!(answers(&server, now_ns()).await?, expected, "stored");
    // Of the last lines it is known what is stored.
    push(&server, 1500, 2000).await?;
    assert_eq!(answers(&server, now_ns()).await?, expected, "and again");
    server.api().flush().await?;
    // A process that has stored nothing does not know.
    server = server.restarted().await?;
    push(&server, 1000, 2000).await?;
    assert_eq!(answers(&server, now_ns()).await?, expected, "restarted");
    push(&server, 2000, 2500).await?;
    let counted = answers(&server, now_ns()).await?;
    assert_eq!(counted[0], 7500.0);
    server.api().flush().await?;
    assert_eq!(answers(&server, now_ns()).await?, counted, "stored again");
    Ok(())
}
