//! What clusters run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::query::{PAGES, Page};
use super::{Admin, Body, Operations, Outcome, Path, answer, wrong};
use crate::digest::Digest;
use crate::error::Error;
use crate::meta::{Cluster, SetRunning};

/// Bytes of a cluster's name.
const NAME_BYTES_MAX: usize = 128;
/// Images of one cluster.
const IMAGES_MAX: usize = 10_000;
/// What a robot is given, in Harbor's words, that may say what clusters run.
pub(super) const UPDATE: (&str, &str) = ("running", "update");

/// What can be done with what clusters run.
pub(super) fn operations(all: Operations) -> Operations {
    let change = "Say what a cluster runs; of none, that it runs `nothing`; of much less than before, that \
        it is meant that these are `fewer`";
    let (running, said) = ("/running", "Clusters that said what they run");
    all.about("running")
        .list(running, "listRunning", said, &PAGES, list)
        .put("/running/{cluster}", "setRunning", change, set)
}

/// Images as a cluster calls them, such as `registry.example.org/team/app@sha256:...`. Those that are
/// called by no digest are left out, of which the answer warns.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RunningReq")]
#[serde(deny_unknown_fields)]
struct Running {
    images: Vec<String>,
    /// Whether it is meant that there are none.
    #[serde(default)]
    nothing: bool,
    /// Whether it is meant that much of what it ran is not among them.
    #[serde(default)]
    fewer: bool,
}

/// The digest that a cluster names an image by.
fn digest(image: &str) -> Option<Digest> {
    let (_, digest) = image.rsplit_once('@').unwrap_or(("", image));
    Digest::parse(digest).ok()
}

impl Running {
    /// The digests of its images, and what there is to say of those that have none, such as images that
    /// were made on a node and were never in a registry.
    fn digests(&self) -> Result<(Vec<Digest>, Option<String>), Error> {
        let found = self.images.iter().map(|image| digest(image));
        let digests: Vec<Digest> = found.flatten().collect();
        let mut strange = self.images.iter().filter(|image| digest(image).is_none());
        let Some(first) = strange.next() else {
            return Ok((digests, None));
        };
        let (count, all) = (strange.count() + 1, self.images.len());
        let said = format!("{count} of {all} images do not end with @ and a digest: `{first}`");
        match digests.is_empty() {
            true => Err(wrong(said)),
            false => Ok((digests, Some(said))),
        }
    }
}

async fn list(admin: Admin) -> Outcome<Page<Cluster>> {
    answer(&admin, async {
        admin.require_admin()?;
        admin.listed(&PAGES, admin.registry.meta().clusters().await?)
    })
    .await
}

async fn set(
    admin: Admin,
    Path(cluster): Path<String>,
    Body(running): Body<Running>,
) -> Outcome<()> {
    answer(&admin, async {
        if !admin.caller.was_given(UPDATE) {
            admin.require_admin()?;
        }
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if cluster.len() > NAME_BYTES_MAX || !cluster.bytes().all(is_plain) {
            return Err(wrong(format!(
                "a cluster's name is 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` and `-`"
            )));
        }
        if running.images.len() > IMAGES_MAX {
            return Err(wrong(format!("a cluster has at most {IMAGES_MAX} images")));
        }
        // What lists them may have failed, and all that runs would go.
        if running.images.is_empty() != running.nothing {
            return Err(wrong(
                "images are what the cluster runs; if that is none, nothing is true",
            ));
        }
        let (images, strange) = running.digests()?;
        let gc = &admin.registry.config().gc;
        let is_meant = running.nothing || running.fewer;
        let set = SetRunning {
            who: admin.who(),
            cluster,
            images,
            lost_percent_max: (!is_meant).then_some(gc.running_lost_percent_max),
            lifetime_ms: admin.registry.graces().running_ms,
        };
        admin.registry.meta().change(set).await?;
        if let Some(strange) = strange {
            let _ = admin.warning.set(strange);
        }
        Ok(())
    })
    .await
}
