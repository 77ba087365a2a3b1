//! `logcli` and its commands.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tests::lines::{SECOND_NS, now_ns};

use crate::site::{API, API_LINES, Site, WEB_LINES, expect, level, list, rows, texts, web_line};
use crate::socket::Socket;

/// Lines that are asked for at once.
const BATCH: usize = 1000;
const WEB: (&str, &str) = ("query", r#"{app="web"}"#);
const ALL: (&str, &str) = ("query", r#"{app=~"web|api"}"#);

/// `query`: pages by the time of the last line, whose copies it leaves out.
pub(crate) async fn batches_give_every_line_once(site: &Site) -> anyhow::Result<()> {
    for direction in ["BACKWARD", "FORWARD"] {
        let [(_, start), (_, end)] = site.range();
        let (mut start, mut end, mut found) = (start, end, Vec::new());
        let batch = BATCH.to_string();
        loop {
            let params = [
                WEB,
                ("limit", batch.as_str()),
                ("direction", direction),
                ("start", start.as_str()),
                ("end", end.as_str()),
            ];
            let page = rows(&site.json("query_range", &params, &[]).await?)?;
            let last_ns = page.last().context("no lines")?.0;
            let is_last = page.len() < BATCH;
            let new: Vec<_> = page
                .into_iter()
                .filter(|row| !found.contains(row))
                .collect();
            ensure!(is_last || !new.is_empty(), "{direction}: nothing new");
            found.extend(new);
            if is_last {
                break;
            }
            match direction {
                "FORWARD" => start = last_ns.to_string(),
                // The end is not part of a range.
                _ => end = (last_ns + 1).to_string(),
            }
        }
        let is_ordered = |pair: &[(i64, String)]| match direction {
            "FORWARD" => pair[0].0 <= pair[1].0,
            _ => pair[0].0 >= pair[1].0,
        };
        ensure!(found.windows(2).all(is_ordered), "{direction}: no order");
        let mut lines: Vec<String> = found.into_iter().map(|(_, line)| line).collect();
        let mut expected: Vec<String> = (0..WEB_LINES).map(web_line).collect();
        lines.sort_unstable();
        expected.sort_unstable();
        ensure!(lines == expected, "{direction}: {} lines", lines.len());
    }
    Ok(())
}

/// `query` and `instant-query`.
pub(crate) async fn all_kinds_of_results_are_read(site: &Site) -> anyhow::Result<()> {
    let time = site.web_time_ns(WEB_LINES).to_string();
    let sum = ("query", r#"sum(count_over_time({app="web"}[1h]))"#);
    let instant = [
        sum,
        ("limit", "30"),
        ("time", &time),
        ("direction", "BACKWARD"),
    ];
    let vector = site.json("query", &instant, &[]).await?;
    let value = &vector["data"]["result"][0]["value"][1];
    expect("vector", value, &json!(WEB_LINES.to_string()))?;
    let sum_of_two = [("query", "1 + 1"), ("time", time.as_str())];
    let scalar = site.json("query", &sum_of_two, &[]).await?;
    expect("kind", &scalar["data"]["resultType"], &json!("scalar"))?;
    expect("scalar", &scalar["data"]["result"][1], &json!("2"))?;
    let ranged = [
        sum,
        ("limit", "30"),
        ("step", "60"),
        ("direction", "FORWARD"),
    ];
    let matrix = site.json("query_range", &ranged, &[]).await?;
    expect("kind", &matrix["data"]["resultType"], &json!("matrix"))?;
    let points = list(&matrix["data"]["result"][0]["values"], "points")?;
    let last = points.last().context("no points")?;
    expect("matrix", &last[1], &json!(WEB_LINES.to_string()))?;
    let some = [
        WEB,
        ("limit", "30"),
        ("interval", "10"),
        ("direction", "FORWARD"),
    ];
    let streams = site.json("query_range", &some, &[]).await?;
    expect("kind", &streams["data"]["resultType"], &json!("streams"))?;
    let times: Vec<i64> = rows(&streams)?
        .iter()
        .map(|(time_ns, _)| *time_ns)
        .collect();
    let apart = |pair: &[i64]| pair[1] - pair[0] >= 10 * SECOND_NS;
    ensure!(
        times.len() == 30 && times.windows(2).all(apart),
        "{times:?}"
    );
    for answer in [vector, matrix, streams] {
        let summary = &answer["data"]["stats"]["summary"];
        ensure!(summary["totalLinesProcessed"].is_number(), "{summary}");
    }
    Ok(())
}

/// `labels` and `series`.
pub(crate) async fn labels_and_series_are_listed(site: &Site) -> anyhow::Result<()> {
    let names = site.json("labels", &[], &[]).await?;
    let names = texts(&names["data"], "names")?;
    expect("names", names, vec!["app", "env", "service_name"])?;
    let values = site.json("label/env/values", &[], &[]).await?;
    expect(
        "values",
        texts(&values["data"], "values")?,
        vec!["prod", "test"],
    )?;
    let matchers = [("match", r#"{app="web"}"#), ("match", r#"{app="api"}"#)];
    let series = site.json("series", &matchers, &[]).await?;
    let mut apps: Vec<&str> = list(&series["data"], "series")?
        .iter()
        .filter_map(|labels| labels["app"].as_str())
        .collect();
    apps.sort_unstable();
    expect("series", apps, vec!["api", "web"])
}

/// `stats`, `volume` and `volume_range`.
pub(crate) async fn sizes_and_volumes_are_told(site: &Site) -> anyhow::Result<()> {
    let stats = site.json("index/stats", &[ALL], &[]).await?;
    expect("entries", &stats["entries"], &json!(WEB_LINES + API_LINES))?;
    let text_bytes: usize = (0..WEB_LINES).map(|number| web_line(number).len()).sum();
    let is_near = |bytes: f64| {
        let text_bytes = text_bytes as f64;
        bytes >= text_bytes && bytes < 2.0 * text_bytes
    };
    for (params, metric) in [
        (&[("targetLabels", "app")][..], json!({"app": "web"})),
        (
            &[("aggregateBy", "labels"), ("targetLabels", "app")],
            json!({"app": ""}),
        ),
        (&[], json!({"app": "web"})),
    ] {
        let params = [&[WEB, ("limit", "30")], params].concat();
        let body = site.json("index/volume", &params, &[]).await?;
        expect("kind", &body["data"]["resultType"], &json!("vector"))?;
        let result = list(&body["data"]["result"], "volumes")?;
        expect("volumes", result.len(), 1)?;
        expect("metric", &result[0]["metric"], &metric)?;
        let bytes = result[0]["value"][1].as_str().context("no text")?.parse()?;
        ensure!(is_near(bytes), "{bytes} of {text_bytes}");
    }
    let params = [
        WEB,
        ("limit", "30"),
        ("step", "60"),
        ("targetLabels", "app"),
    ];
    let body = site.json("index/volume_range", &params, &[]).await?;
    expect("kind", &body["data"]["resultType"], &json!("matrix"))?;
    let mut bytes = 0.0;
    for point in list(&body["data"]["result"][0]["values"], "points")? {
        bytes += point[1].as_str().context("no text")?.parse::<f64>()?;
    }
    ensure!(is_near(bytes), "{bytes} of {text_bytes}");
    Ok(())
}

/// `detected-fields`.
pub(crate) async fn fields_are_detected(site: &Site) -> anyhow::Result<()> {
    let params = [WEB, ("limit", "20"), ("line_limit", "50"), ("step", "60")];
    let body = site.json("detected_fields", &params, &[]).await?;
    let fields = list(&body["fields"], "fields")?;
    let field = fields.iter().find(|field| field["label"] == "took");
    let field = field.with_context(|| format!("no took: {body}"))?;
    expect("type", &field["type"], &json!("duration"))?;
    let cardinality = field["cardinality"].as_u64();
    ensure!(
        cardinality.is_some_and(|count| (45..=55).contains(&count)),
        "{field}"
    );
    expect("limit", &body["limit"], &json!(20))?;
    let values = site.json("detected_field/level/values", &params, &[]);
    let values = values.await?;
    expect("values", texts(&values["values"], "values")?.len(), 3)
}

/// `query --tail`.
pub(crate) async fn tail_begins_with_what_was(site: &Site) -> anyhow::Result<()> {
    let begin_ns = now_ns() - 30 * SECOND_NS;
    let value = |number: i64| {
        let line = format!("line {number}");
        json!([(begin_ns + number).to_string(), line])
    };
    let labels = json!({"app": "followed"});
    site.push(labels.clone(), vec![value(1), value(2), value(3)])
        .await?;
    let path =
        format!("{API}/tail?query=%7Bapp%3D%22followed%22%7D&delay_for=1&limit=2&start={begin_ns}");
    let mut socket = Socket::open(site, &path).await?;
    let mut lines = Vec::new();
    while lines.len() < 2 {
        lines.extend(lines_of(&socket.frame().await?)?);
    }
    // Of the past there are the newest ones, as many as the limit says.
    expect(
        "past",
        &lines[..],
        &["line 2".to_owned(), "line 3".to_owned()],
    )?;
    site.push(labels, vec![value(4), value(5)]).await?;
    while lines.len() < 4 {
        lines.extend(lines_of(&socket.frame().await?)?);
    }
    expect(
        "since",
        &lines[2..],
        &["line 4".to_owned(), "line 5".to_owned()],
    )?;
    let late = format!("{API}/tail?query=%7Bapp%3D%22followed%22%7D&delay_for=6");
    let (status, text) = site.api().get(&late, &[]).await?;
    expect(&text, status, 400)
}

fn lines_of(frame: &Value) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    for stream in list(&frame["streams"], "streams")? {
        for row in list(&stream["values"], "lines")? {
            lines.push(row[1].as_str().context("no line")?.to_owned());
        }
    }
    Ok(lines)
}

/// `delete create`, `delete list` and `delete cancel`.
pub(crate) async fn lines_are_deleted_on_request(site: &Site) -> anyhow::Result<()> {
    let begin_ns = site.base_ns;
    let value = |number: i64, line: &str| json!([(begin_ns + number).to_string(), line]);
    let values = vec![value(1, "secret"), value(2, "open")];
    site.push(json!({"app": "gone"}), values).await?;
    let gone = [("query", r#"{app="gone"}"#), ("direction", "FORWARD")];
    expect(
        "before",
        rows(&site.json("query_range", &gone, &[]).await?)?.len(),
        2,
    )?;

    let (start, end) = (begin_ns / SECOND_NS, begin_ns / SECOND_NS + 60);
    let query = "query=%7Bapp%3D%22gone%22%7D+%7C%3D+%22secret%22";
    let path = format!("{API}/delete?{query}&start={start}&end={end}&max_interval=30s");
    let api = site.api();
    let too_long = path.replace("=30s", "=1h");
    let (status, text) = api.post(&too_long, "text/plain", &[], Vec::new()).await?;
    expect(&text, status, 400)?;
    let (status, text) = api.post(&path, "text/plain", &[], Vec::new()).await?;
    expect(&text, status, 204)?;
    let left = rows(&site.json("query_range", &gone, &[]).await?)?;
    expect("after", left, vec![(begin_ns + 2, "open".to_owned())])?;

    let path = format!("{API}/delete");
    let listed = api.json(&path, &[]).await?;
    let request = &listed[0];
    expect(
        "query",
        &request["query"],
        &json!(r#"{app="gone"} |= "secret""#),
    )?;
    expect("status", &request["status"], &json!("received"))?;
    expect("start", request["start_time"].as_f64(), Some(start as f64))?;
    let id = request["request_id"].as_str().context("no id")?;
    let (status, text) = api
        .delete(&format!("{path}?request_id={id}&force=false"))
        .await?;
    expect(&text, status, 204)?;
    expect("requests", api.json(&path, &[]).await?, json!([]))
}

pub(crate) async fn credentials_and_tags_do_not_disturb(site: &Site) -> anyhow::Result<()> {
    for credentials in ["Basic dXNlcjpwYXNz", "Bearer abc.def"] {
        let headers = [
            ("Authorization", credentials),
            ("X-Query-Tags", "Source=logcli,team=x"),
            ("User-Agent", "loki-logcli/3.5"),
        ];
        let params = [WEB, ("limit", "1"), ("direction", "BACKWARD")];
        let body = site.json("query_range", &params, &headers).await?;
        expect(credentials, rows(&body)?.len(), 1)?;
    }
    Ok(())
}

/// `--compress`.
pub(crate) async fn answers_are_compressed_when_asked(site: &Site) -> anyhow::Result<()> {
    let [(_, start), (_, end)] = site.range();
    let params = [WEB, ("limit", "5000"), ("start", &start), ("end", &end)];
    let path = format!("{API}/query_range");
    let gzip = [("Accept-Encoding", "gzip")];
    let (encoding, compressed) = site.api().get_encoded(&path, &params, &gzip).await?;
    expect("encoding", encoding.as_str(), "gzip")?;
    let mut text = String::new();
    std::io::Read::read_to_string(
        &mut flate2::read::MultiGzDecoder::new(&*compressed),
        &mut text,
    )?;
    ensure!(
        compressed.len() * 3 < text.len(),
        "{} bytes",
        compressed.len()
    );
    expect(
        "lines",
        rows(&serde_json::from_str(&text)?)?.len(),
        WEB_LINES,
    )?;
    let (encoding, plain) = site.api().get_encoded(&path, &params, &[]).await?;
    expect("encoding", encoding.as_str(), "")?;
    let plain: Value = serde_json::from_slice(&plain)?;
    let newest = &plain["data"]["result"][0]["stream"]["detected_level"];
    expect("level", newest, &json!(level(WEB_LINES - 1)))
}
