//! Grafana's Loki data source.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::lines::{SECOND_NS, now_ns};

use crate::site::{API_LINES, Site, WEB_LINES, expect, level, list, rows, texts, web_line};
use crate::socket::Socket;

const FLAGS: (&str, &str) = ("X-Loki-Response-Encoding-Flags", "categorize-labels");
const WEB: (&str, &str) = ("query", r#"{app="web"}"#);
const BACKWARD: (&str, &str) = ("direction", "backward");
const STEP: (&str, &str) = ("step", "60000ms");

async fn range(site: &Site, params: &[(&str, &str)]) -> anyhow::Result<Value> {
    site.json("query_range", &[&[STEP], params].concat(), &[FLAGS])
        .await
}

pub(crate) async fn lines_have_their_labels_by_category(site: &Site) -> anyhow::Result<()> {
    let query = ("query", r#"{app="web"} | logfmt n, level"#);
    let params = [query, BACKWARD, ("limit", "3"), STEP];
    let (status, text) = site.get("query_range", &params, &[FLAGS]).await?;
    expect(&text, status, 200)?;
    // The answer is read as it comes: how to read lines is told before them.
    let place = |part: &str| text.find(part).with_context(|| format!("no {part}"));
    ensure!(place("\"encodingFlags\"")? < place("\"result\"")?, "{text}");
    let body: Value = serde_json::from_str(&text)?;
    let data = &body["data"];
    expect("status", &body["status"], &json!("success"))?;
    expect("kind", &data["resultType"], &json!("streams"))?;
    expect(
        "flags",
        &data["encodingFlags"],
        &json!(["categorize-labels"]),
    )?;
    let labels = json!({"app": "web", "env": "prod", "service_name": "web"});
    expect("labels", &data["result"][0]["stream"], &labels)?;
    // Lines of one time come in any order.
    let newest = site.web_time_ns(WEB_LINES - 1).to_string();
    for row in list(&data["result"][0]["values"], "lines")? {
        expect("time", &row[0], &json!(newest))?;
        let line = row[1].as_str().context("no line")?;
        let number = (0..WEB_LINES).find(|number| line == web_line(*number));
        let number = number.with_context(|| format!("an unknown line: {line}"))?;
        let categories = json!({
            "structuredMetadata": {
                "trace_id": format!("t{number}"), "detected_level": level(number)
            },
            "parsed": {"n": number.to_string(), "level": level(number)},
        });
        expect("categories", &row[2], &categories)?;
    }
    Ok(())
}

pub(crate) async fn directions_are_backward_and_forward(site: &Site) -> anyhow::Result<()> {
    // What it shows as `scan` it asks for as `backward`, part by part.
    let scan = [WEB, ("direction", "scan")];
    let (status, text) = site.get("query_range", &scan, &[FLAGS]).await?;
    expect(
        "scan",
        (status, text.trim()),
        (400, "invalid direction 'scan'"),
    )?;
    for (direction, number) in [("backward", WEB_LINES - 1), ("forward", 0)] {
        let limited = [WEB, ("direction", direction), ("limit", "1")];
        let first = rows(&range(site, &limited).await?)?;
        let time = first.first().map(|(time_ns, _)| *time_ns);
        expect(direction, time, Some(site.web_time_ns(number)))?;
        // Without a limit there are as many lines as Loki gives.
        let body = range(site, &[WEB, ("direction", direction)]).await?;
        expect(direction, rows(&body)?.len(), 100)?;
    }
    Ok(())
}

pub(crate) async fn tags_of_queries_are_taken(site: &Site) -> anyhow::Result<()> {
    for source in ["logvolhist", "logsample", "datasample", "infinitescroll"] {
        let tag = format!("Source={source}");
        let headers = [FLAGS, ("X-Query-Tags", tag.as_str())];
        let params = [WEB, BACKWARD, ("limit", "1"), STEP];
        let body = site.json("query_range", &params, &headers).await?;
        expect(source, rows(&body)?.len(), 1)?;
    }
    Ok(())
}

pub(crate) async fn numbers_come_as_a_matrix(site: &Site) -> anyhow::Result<()> {
    let query = (
        "query",
        r#"sum by (level) (count_over_time({app="web"} | logfmt [1m]))"#,
    );
    let body = range(site, &[query, BACKWARD]).await?;
    let data = &body["data"];
    expect("kind", &data["resultType"], &json!("matrix"))?;
    let mut levels = Vec::new();
    for series in list(&data["result"], "series")? {
        levels.push(series["metric"]["level"].as_str().unwrap_or_default());
        for point in list(&series["values"], "points")? {
            let seconds = point[0].as_i64().context("a time that is no number")?;
            expect("whole steps", seconds % 60, 0)?;
            point[1].as_str().context("no text")?.parse::<f64>()?;
        }
    }
    levels.sort_unstable();
    expect("levels", levels, vec!["error", "info", "warn"])
}

pub(crate) async fn instant_queries_take_nanoseconds(site: &Site) -> anyhow::Result<()> {
    let query = ("query", r#"sum(count_over_time({app="web"}[1h]))"#);
    let time_ns = site.web_time_ns(WEB_LINES);
    let time = time_ns.to_string();
    for limit in [None, Some(("limit", "1000"))] {
        let mut params = vec![query, BACKWARD, ("time", time.as_str())];
        params.extend(limit);
        let body = site.json("query", &params, &[FLAGS]).await?;
        expect("kind", &body["data"]["resultType"], &json!("vector"))?;
        let count = WEB_LINES.to_string();
        let sample = json!([{"metric": {}, "value": [time_ns / SECOND_NS, count]}]);
        expect("sample", &body["data"]["result"], &sample)?;
    }
    Ok(())
}

pub(crate) async fn the_health_check_gives_two(site: &Site) -> anyhow::Result<()> {
    let params = [
        ("query", "vector(1)+vector(1)"),
        BACKWARD,
        ("time", "4000000000"),
    ];
    let body = site.json("query", &params, &[FLAGS]).await?;
    let result = list(&body["data"]["result"], "samples")?;
    expect("samples", result.len(), 1)?;
    expect("kind", &body["data"]["resultType"], &json!("vector"))?;
    expect("value", &result[0]["value"][1], &json!("2"))
}

pub(crate) async fn numbers_without_digits_are_words(site: &Site) -> anyhow::Result<()> {
    for (query, word) in [
        ("vector(0) / vector(0)", "NaN"),
        ("vector(1e308) * vector(1e308)", "+Inf"),
        ("vector(1e308) * (vector(1e308) * -1)", "-Inf"),
    ] {
        let body = site.json("query", &[("query", query)], &[FLAGS]).await?;
        expect(query, &body["data"]["result"][0]["value"][1], &json!(word))?;
    }
    Ok(())
}

pub(crate) async fn statistics_are_where_they_are_looked_for(site: &Site) -> anyhow::Result<()> {
    let body = range(site, &[WEB, BACKWARD, ("limit", "5000")]).await?;
    let stats = &body["data"]["stats"];
    for name in [
        "bytesProcessedPerSecond",
        "linesProcessedPerSecond",
        "totalBytesProcessed",
        "totalLinesProcessed",
        "execTime",
    ] {
        let number = stats["summary"][name].as_f64();
        ensure!(number.is_some_and(|number| number > 0.0), "{name}: {stats}");
    }
    for name in [
        "totalReached",
        "totalChunksMatched",
        "totalBatches",
        "totalLinesSent",
    ] {
        ensure!(stats["ingester"][name].is_number(), "{name}: {stats}");
    }
    let is_store = |stats: &Value| stats["store"].is_object();
    ensure!(
        is_store(&stats["ingester"]) && is_store(&stats["querier"]),
        "{stats}"
    );
    let warnings = &body["warnings"];
    ensure!(warnings.is_null() || warnings.is_array(), "{warnings}");
    Ok(())
}

pub(crate) async fn errors_are_plain_text(site: &Site) -> anyhow::Result<()> {
    for (query, text) in [
        ("{app=\"web\"", "parse error at line 1, col 11"),
        ("{app=~\".*\"}", "parse error : queries require"),
        ("sum({app=\"web\"})", "parse error at line 1, col"),
    ] {
        let params = [("query", query), BACKWARD, STEP];
        let (status, body) = site.get("query_range", &params, &[FLAGS]).await?;
        expect(query, status, 400)?;
        ensure!(body.starts_with(text), "{query}: {body}");
    }
    let params = [WEB, BACKWARD, STEP, ("limit", "5001")];
    let (status, body) = site.get("query_range", &params, &[FLAGS]).await?;
    expect(&body, status, 400)?;
    ensure!(
        body.contains("max_entries_limit_per_query (5001 > 5000)"),
        "{body}"
    );
    Ok(())
}

pub(crate) async fn labels_are_listed(site: &Site) -> anyhow::Result<()> {
    for params in [&[][..], &[WEB], &[("query", r#"{app="web", env=~".+"}"#)]] {
        let body = site.json("labels", params, &[]).await?;
        expect("status", &body["status"], &json!("success"))?;
        let names = texts(&body["data"], "labels")?;
        expect("labels", names, vec!["app", "env", "service_name"])?;
    }
    Ok(())
}

pub(crate) async fn values_of_labels_are_listed(site: &Site) -> anyhow::Result<()> {
    let all = site.json("label/app/values", &[], &[]).await?;
    let values = texts(&all["data"], "values")?;
    ensure!(
        values.starts_with(&["api"]) && values.contains(&"web"),
        "{values:?}"
    );
    let some = site.json("label/app/values", &[WEB], &[]).await?;
    expect("values", texts(&some["data"], "values")?, vec!["web"])
}

pub(crate) async fn series_are_listed(site: &Site) -> anyhow::Result<()> {
    let matchers = [("match[]", r#"{env="prod"}"#)];
    let body = site.json("series", &matchers, &[]).await?;
    let series = json!([{"app": "web", "env": "prod", "service_name": "web"}]);
    expect("series", &body["data"], &series)
}

pub(crate) async fn the_size_of_a_query_is_told(site: &Site) -> anyhow::Result<()> {
    let body = site.json("index/stats", &[WEB], &[]).await?;
    expect("streams", &body["streams"], &json!(1))?;
    expect("entries", &body["entries"], &json!(WEB_LINES))?;
    let is_some = |name: &str| body[name].as_u64().is_some_and(|number| number > 0);
    ensure!(is_some("chunks") && is_some("bytes"), "{body}");
    Ok(())
}

pub(crate) async fn fields_and_their_values_are_listed(site: &Site) -> anyhow::Result<()> {
    let params = [WEB, ("limit", "500")];
    let body = site.json("detected_fields", &params, &[]).await?;
    let fields = list(&body["fields"], "fields")?;
    let labels: Vec<&str> = fields
        .iter()
        .filter_map(|field| field["label"].as_str())
        .collect();
    for name in ["n", "took", "msg", "path"] {
        ensure!(labels.contains(&name), "{name} is not in {labels:?}");
    }
    let body = site
        .json("detected_field/level/values", &params, &[])
        .await?;
    let mut values = texts(&body["values"], "values")?;
    values.sort_unstable();
    expect("values", values, vec!["error", "info", "warn"])
}

pub(crate) async fn what_the_builder_makes_is_answered(site: &Site) -> anyhow::Result<()> {
    for query in [
        r#"{app="web"} |= """#,
        r#"{app="web"} |= ``"#,
        r#"{app=~".+"} | json | logfmt | drop __error__, __error_details__"#,
        r#"label_replace(rate({app="api"}[5m]), "a", "$1", "app", "(.*)")"#,
        r#"sum by (app) (count_over_time({app=~".+"} |= `` [1m]))"#,
        r#"topk(5, sum by (level) (rate({app="web"} | logfmt [1m])))"#,
        r#"quantile_over_time(0.99, {app="web"} | logfmt | unwrap duration(took) | __error__=`` [5m]) by (app)"#,
    ] {
        let body = range(site, &[("query", query), BACKWARD]).await?;
        let result = list(&body["data"]["result"], "results")?;
        ensure!(!result.is_empty(), "nothing for {query}");
    }
    Ok(())
}

pub(crate) async fn the_histogram_of_levels_counts_every_line(site: &Site) -> anyhow::Result<()> {
    let query = r#"sum by (level, detected_level) (count_over_time({app=~"web|api"} |= `` | drop __error__ [1m]))"#;
    let tag = ("X-Query-Tags", "Source=logvolhist");
    let params = [("query", query), BACKWARD, STEP];
    let body = site.json("query_range", &params, &[FLAGS, tag]).await?;
    let mut sum = 0.0;
    for series in list(&body["data"]["result"], "series")? {
        let level = series["metric"]["detected_level"].as_str();
        ensure!(level.is_some(), "no level: {series}");
        for point in list(&series["values"], "points")? {
            sum += point[1].as_str().context("no text")?.parse::<f64>()?;
        }
    }
    expect("lines", sum, (WEB_LINES + API_LINES) as f64)
}

pub(crate) async fn the_context_of_a_line_is_read_both_ways(site: &Site) -> anyhow::Result<()> {
    let at_ns = site.web_time_ns(1000);
    let (at, hour_ns) = (at_ns.to_string(), 3600 * SECOND_NS);
    let (before, after) = ((at_ns - hour_ns).to_string(), (at_ns + hour_ns).to_string());
    for (direction, start, end) in [("backward", &before, &at), ("forward", &at, &after)] {
        let params = [
            ("query", r#"{app="web",env="prod",service_name="web"}"#),
            ("direction", direction),
            ("limit", "10"),
            ("start", start),
            ("end", end),
        ];
        let found = rows(&range(site, &params).await?)?;
        expect(direction, found.len(), 10)?;
        let is_side = |time_ns: i64| match direction {
            "forward" => time_ns >= at_ns,
            _ => time_ns < at_ns,
        };
        let second_ns = (found[0].0 - found[9].0).abs();
        ensure!(
            found.iter().all(|(time_ns, _)| is_side(*time_ns)),
            "{found:?}"
        );
        expect(direction, second_ns, SECOND_NS)?;
    }
    Ok(())
}

pub(crate) async fn split_queries_name_shards(site: &Site) -> anyhow::Result<()> {
    let path = "label/__stream_shard__/values";
    let body = site.json(path, &[WEB], &[]).await?;
    expect("shards", body["data"].as_array(), None)?;
    for (selector, is_there) in [
        (r#"{app="web", __stream_shard__=""}"#, true),
        (r#"{app="web", __stream_shard__=~"1|2|3"}"#, false),
        (r#"{app="web", __stream_shard__=~"1|2|"}"#, true),
    ] {
        let params = [("query", selector), BACKWARD, ("limit", "7")];
        let found = rows(&range(site, &params).await?)?;
        expect(selector, !found.is_empty(), is_there)?;
    }
    Ok(())
}

pub(crate) async fn live_lines_come_over_a_socket(site: &Site) -> anyhow::Result<()> {
    let query = "query=%7Bapp%3D%22live%22%7D%20%7C%3D%20%60keep%60";
    let mut socket = Socket::open(site, &format!("/loki/api/v1/tail?{query}")).await?;
    // A tail without lines is not taken for a dead connection by what is in between.
    socket.ping().await?;
    let now_ns = now_ns();
    let value = |number: i64, line: &str| json!([(now_ns + number).to_string(), line]);
    let labels = json!({"app": "live"});
    let values = vec![
        value(1, "keep one"),
        value(2, "other"),
        value(3, "keep two"),
    ];
    site.push(labels, values).await?;
    let mut lines = Vec::new();
    while lines.len() < 2 {
        let frame = socket.frame().await?;
        for stream in list(&frame["streams"], "streams")? {
            expect("app", &stream["stream"]["app"], &json!("live"))?;
            for row in list(&stream["values"], "lines")? {
                let time = row[0].as_str().context("no time")?.to_owned();
                lines.push((time, row[1].as_str().context("no line")?.to_owned()));
            }
        }
        let dropped = &frame["dropped_entries"];
        ensure!(dropped.is_null() || dropped.is_array(), "{dropped}");
    }
    let expected = [(1, "keep one"), (3, "keep two")]
        .map(|(number, line)| ((now_ns + number).to_string(), line.to_owned()));
    expect("lines", lines, expected.to_vec())
}
