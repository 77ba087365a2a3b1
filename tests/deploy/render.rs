//! What of a chart's templates is used here: values, as they are and as YAML.

use anyhow::{Context, bail};
use serde_json::Value;

/// A template with its values filled in.
pub(crate) fn render(template: &str, values: &Value) -> anyhow::Result<String> {
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after
            .split_once("}}")
            .context("braces that are not closed")?;
        out.push_str(before);
        out.push_str(&evaluated(inside.trim(), values)?);
        rest = after;
    }
    Ok(out + rest)
}

fn evaluated(expression: &str, values: &Value) -> anyhow::Result<String> {
    let (what, through) = match expression.split_once('|') {
        Some((what, through)) => (what.trim(), through.trim()),
        None => (expression, ""),
    };
    if what == ".Release.Namespace" {
        return Ok("skald".to_owned());
    }
    let (name, is_yaml) = match what.strip_prefix("toYaml ") {
        Some(name) => (name, true),
        None => (what, false),
    };
    let path = name.strip_prefix(".Values.").context("no value")?;
    let value = path
        .split('.')
        .try_fold(values, |value, key| value.get(key));
    let value = value.with_context(|| format!("values.yaml has no {path}"))?;
    if !is_yaml {
        return match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(number) => Ok(number.to_string()),
            other => bail!("{path} is {other}, which is no text"),
        };
    }
    // JSON is YAML.
    let yaml = serde_json::to_string_pretty(value)?;
    Ok(match through.split_once(' ') {
        Some(("indent", spaces)) => {
            let indent = " ".repeat(spaces.parse()?);
            let lines: Vec<String> = yaml.lines().map(|line| format!("{indent}{line}")).collect();
            lines.join("\n")
        }
        None if through == "sha256sum" => "a-checksum".to_owned(),
        _ => bail!("{expression} is not known here"),
    })
}
