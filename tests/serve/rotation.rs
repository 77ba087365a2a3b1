//! Files that are rotated while they are written, and a server that is stopped meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::lines::{SECOND_NS, now_ns};

use crate::{Site, append, program_lines};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renamed_files_are_read_to_their_end_and_new_ones_from_their_start() -> anyhow::Result<()> {
    let site = Site::start().await?;
    // Files that were rotated before the first look are archives, which nobody asked for.
    let first = program_lines("first", 1);
    append(&site.path("first.log"), &first)?;
    site.counted(&site.selector("first.*"), first.len()).await?;
    let lines = program_lines("rename", 400);
    let path = site.path("app.log");
    for (generation, part) in lines.chunks(100).enumerate() {
        let (first, last) = part.split_at(60);
        append(&path, first)?;
        append(&path, last)?;
        // logrotate: the old name goes to the next number, the program opens a new file.
        if generation < 3 {
            std::fs::rename(&path, site.path(&format!("app.log.{}", 3 - generation)))?;
        }
    }
    site.found(&site.selector("app.*"), &lines).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn truncated_files_are_read_again_from_their_start() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let lines = program_lines("truncate", 300);
    let path = site.path("app.log");
    let mut written = 0;
    for part in lines.chunks(100) {
        append(&path, part)?;
        written += part.len();
        // Truncation loses what was not read by then; so it is awaited.
        site.counted(&site.selector(".*"), written).await?;
        std::fs::File::options()
            .write(true)
            .truncate(true)
            .open(&path)?;
    }
    site.found(&site.selector(".*"), &lines).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_while_the_server_was_down_is_read_once() -> anyhow::Result<()> {
    let site = Site::start().await?;
    let lines = program_lines("down", 300);
    let path = site.path("app.log");
    let [first, second, third] = [&lines[..100], &lines[100..200], &lines[200..]];
    append(&path, first)?;
    site.counted(&site.selector(".*"), first.len()).await?;

    let launch = site.process.stop().await?;
    append(&path, second)?;
    std::fs::rename(&path, path.with_extension("log.1"))?;
    append(&path, third)?;
    let site = Site {
        process: launch.start().await?,
        directory: site.directory,
    };
    site.found(&site.selector(".*"), &lines).await?;

    // Without an orderly stop a line may be read again, as its position was not saved; but none is
    // left out.
    let launch = site.process.kill()?;
    let site = Site {
        process: launch.start().await?,
        directory: site.directory,
    };
    append(&path, &program_lines("after", 50))?;
    let api = site.api();
    let query = format!(r#"{} |= "after""#, site.selector(".*"));
    tests::wait_for("the last lines", Duration::from_secs(60), || async {
        let now_ns = now_ns();
        let lines = api
            .lines(&query, now_ns - 60 * SECOND_NS, now_ns)
            .await
            .ok()?;
        let texts: BTreeSet<String> = lines.into_iter().map(|line| line.text).collect();
        (texts.len() == 50).then_some(())
    })
    .await
}
