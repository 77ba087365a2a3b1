//! `delete`: requests to delete lines.

use std::io::Write;

use http::Method;
use serde_json::Value;

use crate::answer::DeleteRequest;
use crate::args::{DeleteCancelArgs, DeleteCommand, DeleteCreateArgs, DeleteListArgs, ListOutput};
use crate::client::Client;
use crate::error::CliError;
use crate::metadata::print_lines;
use crate::time;

const PATH: &str = "/loki/api/v1/delete";
const SECOND_NS: i64 = 1_000_000_000;

pub(crate) async fn run(
    command: DeleteCommand,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    match command {
        DeleteCommand::Create(args) => create(args, out).await,
        DeleteCommand::List(args) => list(args, out).await,
        DeleteCommand::Cancel(args) => cancel(args, out).await,
    }
}

async fn create(args: DeleteCreateArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let (start_ns, end_ns) = time::range(&args.time, time::now_ns())?;
    // The API knows whole seconds: nothing is deleted that was not asked for.
    let start_s = start_ns.div_euclid(SECOND_NS) + i64::from(start_ns.rem_euclid(SECOND_NS) > 0);
    let mut params = vec![
        ("query", args.query),
        ("start", start_s.to_string()),
        ("end", end_ns.div_euclid(SECOND_NS).to_string()),
    ];
    params.extend(args.max_interval.map(|interval| ("max_interval", interval)));
    client.change(Method::POST, PATH, &params).await?;
    done(&client, "Delete request created successfully", out)
}

async fn list(args: DeleteListArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let requests: Vec<Value> = client.get(PATH, &[]).await?;
    let unexpected = |error: serde_json::Error| CliError::Answer(error.to_string());
    if args.output == ListOutput::Json {
        let text = serde_json::to_string_pretty(&requests).map_err(unexpected)?;
        return print_lines(out, [text]);
    }
    done(
        &client,
        &format!("Found {} delete requests:", requests.len()),
        out,
    )?;
    for request in requests {
        let request: DeleteRequest = serde_json::from_value(request).map_err(unexpected)?;
        let lines = [
            format!("Request ID: {}", request.request_id),
            format!("Query: {}", request.query),
            format!("Start Time: {}", time::print_seconds(request.start_time)?),
            format!("End Time: {}", time::print_seconds(request.end_time)?),
            format!("Status: {}", request.status),
            "---".to_owned(),
        ];
        print_lines(out, lines)?;
    }
    Ok(())
}

async fn cancel(args: DeleteCancelArgs, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    let client = Client::new(&args.client)?;
    let mut params = vec![("request_id", args.request_id.clone())];
    if args.force {
        params.push(("force", "true".to_owned()));
    }
    client.change(Method::DELETE, PATH, &params).await?;
    let id = args.request_id;
    done(
        &client,
        &format!("Delete request {id} cancelled successfully"),
        out,
    )
}

fn done(client: &Client, text: &str, out: &mut (dyn Write + Send)) -> Result<(), CliError> {
    if client.quiet {
        return Ok(());
    }
    print_lines(out, [text.to_owned()])
}
