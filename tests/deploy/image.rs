//! The image, and the containers of the compose file that are made of it.

use anyhow::Context;
use serde_json::Value;

use crate::read;

/// What of the image belongs to the user that its containers run as.
const HOME: &str = "/var/lib/skald/";

/// Docker makes the directory of a new volume, and makes it root's, unless the image has it.
#[test]
fn volumes_belong_to_who_writes_to_them() -> anyhow::Result<()> {
    let image = read("docker/Dockerfile")?;
    let made = image.lines().find(|line| line.contains("install -d"));
    let made: Vec<&str> = made.context("no directories")?.split(' ').collect();
    let compose: Value = serde_yaml::from_str(&read("compose/docker-compose.yaml")?)?;
    let mut seen = 0;
    for (name, service) in compose["services"].as_object().context("no services")? {
        let volumes = service["volumes"].as_array();
        for volume in volumes.into_iter().flatten() {
            let (_, path) = volume
                .as_str()
                .and_then(|volume| volume.split_once(':'))
                .with_context(|| format!("{name}: {volume}"))?;
            if path.starts_with(HOME) && service["user"] != "root" {
                assert!(made.contains(&path), "{name}: {path}");
                seen += 1;
            }
        }
    }
    assert!(seen > 0, "no volume was looked at");
    Ok(())
}

/// What is published is what the image says that it listens on, and on all addresses.
#[test]
fn ports_that_are_published_are_those_of_the_image() -> anyhow::Result<()> {
    let image = read("docker/Dockerfile")?;
    let exposed = image.lines().find_map(|line| line.strip_prefix("EXPOSE "));
    let exposed: Vec<&str> = exposed.context("no ports")?.split(' ').collect();
    let compose: Value = serde_yaml::from_str(&read("compose/docker-compose.yaml")?)?;
    for (name, service) in compose["services"].as_object().context("no services")? {
        for port in service["ports"].as_array().into_iter().flatten() {
            let port = port.as_str().and_then(|port| port.rsplit(':').next());
            let port = port.with_context(|| format!("{name} has a port that is no text"))?;
            assert!(exposed.contains(&port), "{name}: {port}");
            assert!(
                image.contains(&format!("_LISTEN=:{port}")),
                "{name}: {port}"
            );
        }
    }
    Ok(())
}
