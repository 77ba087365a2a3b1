//! Grafana's pages of alerts, which keep rule groups on the server.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::site::{Site, expect, list};

const GROUP: &str = "name: load\ninterval: 1m\nrules:\n  - alert: Many\n    expr: sum(rate({app=\"web\"}[5m])) > 10\n    for: 5m\n    labels:\n      severity: page\n    annotations:\n      summary: many requests\n";

pub(crate) async fn the_server_says_what_it_is(site: &Site) -> anyhow::Result<()> {
    let body = site.json("status/buildinfo", &[], &[]).await?;
    for name in [
        "version",
        "revision",
        "branch",
        "buildUser",
        "buildDate",
        "goVersion",
    ] {
        ensure!(body[name].is_string(), "{name}: {body}");
    }
    // Grafana takes a server of Mimir or Prometheus for one if it has these.
    ensure!(
        body["features"].is_null() && body["status"].is_null(),
        "{body}"
    );
    Ok(())
}

pub(crate) async fn groups_are_kept_listed_and_deleted(site: &Site) -> anyhow::Result<()> {
    let api = site.api();
    for base in ["/loki/api/v1/rules", "/api/prom/rules"] {
        // How Grafana finds out whether there are rules at all.
        let nothing = api.get(&format!("{base}/test/test"), &[]).await?;
        expect(base, nothing, (404, "group does not exist\n".to_owned()))?;
        let namespace = format!("{base}/team");
        let posted = api
            .send(&namespace, "application/yaml", GROUP.into())
            .await?;
        expect("kept", posted.status().as_u16(), 202)?;
        // Nothing evaluates them, which nobody is to find out by an alert that does not come.
        let warning = posted.headers().get("Warning");
        let warning = warning.and_then(|warning| warning.to_str().ok());
        ensure!(
            warning.is_some_and(|text| text.contains("not evaluated")),
            "{warning:?}"
        );
        for path in [base, &namespace, &format!("{namespace}/load")] {
            let (status, text) = api.get(path, &[]).await?;
            expect(&text, status, 200)?;
            ensure!(
                text.contains("alert: Many") && text.contains("sum(rate({app="),
                "{path}: {text}"
            );
        }
        let listed = rules(site, &[("file[]", "team"), ("rule_group[]", "load")]).await?;
        expect("groups", listed.len(), 1)?;
        let group = &listed[0];
        expect("file", &group["file"], &json!("team"))?;
        expect("interval", group["interval"].as_f64(), Some(60.0))?;
        let rule = &group["rules"][0];
        expect("rule", &rule["name"], &json!("Many"))?;
        expect("kind", &rule["type"], &json!("alerting"))?;
        expect("labels", &rule["labels"], &json!({"severity": "page"}))?;
        let never = json!("0001-01-01T00:00:00Z");
        expect("evaluated", &rule["lastEvaluation"], &never)?;
        expect("none", rules(site, &[("type", "record")]).await?.len(), 0)?;
        let unknown = [("type", "unknown")];
        let (status, text) = api.get("/prometheus/api/v1/rules", &unknown).await?;
        expect(&text, status, 400)?;
        ensure!(text.contains("not supported value"), "{text}");
        let (status, text) = api.delete(&format!("{namespace}/load")).await?;
        expect(&text, status, 202)?;
        let gone = api.get(&namespace, &[]).await?;
        expect(base, gone, (404, "no rule groups found\n".to_owned()))?;
        // Who deletes twice is told of it as Loki does: of a namespace, not of a group.
        let (status, text) = api.delete(&format!("{namespace}/load")).await?;
        expect(&text, status, 202)?;
        let gone = api.delete(&namespace).await?;
        let text = "group namespace does not exist\n".to_owned();
        expect(base, gone, (404, text))?;
    }
    let body = api.json("/prometheus/api/v1/alerts", &[]).await?;
    list(&body["data"]["alerts"], "alerts").map(|_| ())
}

async fn rules(site: &Site, params: &[(&str, &str)]) -> anyhow::Result<Vec<Value>> {
    let body = site.api().json("/prometheus/api/v1/rules", params).await?;
    expect("status", &body["status"], &json!("success"))?;
    let groups = body["data"]["groups"].as_array();
    groups.cloned().context("no groups")
}
