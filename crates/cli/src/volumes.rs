//! `volume`, `volume_range` and `detected-fields`: what there is, without its lines.

use std::io::Write;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::answer::{FieldsAnswer, QueryAnswer};
use crate::args::{FieldsArgs, FieldsOutput, VolumeArgs, VolumeRangeArgs};
use crate::client::Client;
use crate::error::CliError;
use crate::metadata::{print_lines, range_params};
use crate::{query, time};

/// Bytes by series or label, over all of the time.
pub(crate) async fn volume(args: VolumeArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let params = params(&args)?;
    let answer = client.get("/loki/api/v1/index/volume", &params);
    print(&answer.await?, out)
}

/// Bytes by series or label, step by step.
pub(crate) async fn volume_range(
    args: VolumeRangeArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let client = Client::new(&args.volume.client)?;
    let step_ns = time::parse_duration(&args.step)?;
    let mut params = params(&args.volume)?;
    params.push(("step", (step_ns as f64 / 1e9).to_string()));
    let answer = client.get("/loki/api/v1/index/volume_range", &params);
    print(&answer.await?, out)
}

fn params(args: &VolumeArgs) -> Result<Vec<(&'static str, String)>, CliError> {
    let mut params = range_params(&args.time)?;
    params.push(("query", args.query.clone()));
    params.push(("limit", args.limit.to_string()));
    if !args.target_labels.is_empty() {
        params.push(("targetLabels", args.target_labels.join(",")));
    }
    if args.aggregate_by_labels {
        params.push(("aggregateBy", "labels".to_owned()));
    }
    Ok(params)
}

fn print(answer: &QueryAnswer, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    print_lines(out, [query::pretty(&answer.data.result)?])
}

/// Fields of lines, or the values of one of them.
pub(crate) async fn detected_fields(
    args: FieldsArgs,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let mut params = range_params(&args.time)?;
    params.extend([
        ("query", args.query),
        ("limit", args.limit.to_string()),
        ("line_limit", args.line_limit.to_string()),
        ("step", args.step),
    ]);
    let path = match &args.field {
        None => "/loki/api/v1/detected_fields".to_owned(),
        Some(field) => format!(
            "/loki/api/v1/detected_field/{}/values",
            utf8_percent_encode(field, NON_ALPHANUMERIC)
        ),
    };
    let answer: Value = client.get(&path, &params).await?;
    if args.output == FieldsOutput::Raw {
        return print_lines(out, [answer.to_string()]);
    }
    let answer = serde_json::from_value::<FieldsAnswer>(answer);
    let answer = answer.map_err(|error| CliError::Answer(error.to_string()))?;
    let fields = answer.fields.unwrap_or_default().into_iter().map(|field| {
        let (label, kind) = (field.label, field.kind);
        format!(
            "label: {label}\t\ttype: {kind}\t\tcardinality: {}",
            field.cardinality
        )
    });
    let mut lines: Vec<String> = fields.chain(answer.values.unwrap_or_default()).collect();
    lines.sort();
    print_lines(out, lines)
}
