//! What a file declares.

use std::process::Output;

use reqwest::Method;
use serde_json::{Value, json};
use tests::registry::{Registry, bytes};

use crate::auth::{member, start};

/// Runs `skald registry apply` on a file, as the administrator.
async fn apply(registry: &Registry, file: &str, flags: &[&str]) -> anyhow::Result<Output> {
    let path = registry.directory().join("registry.yaml");
    std::fs::write(&path, file)?;
    let password = registry.directory().join("data/registry/admin-password");
    let mut command = tokio::process::Command::new(tests::binary::path("skald")?);
    command
        .args([
            "registry",
            "apply",
            "--addr",
            registry.client().base(),
            "-f",
        ])
        .arg(&path)
        .args(flags)
        .env("SKALD_REGISTRY_USERNAME", "admin")
        .env(
            "SKALD_REGISTRY_PASSWORD",
            std::fs::read_to_string(password)?.trim(),
        );
    Ok(command.output().await?)
}

/// What was done for a file.
async fn applied(registry: &Registry, file: &str) -> anyhow::Result<String> {
    let output = apply(registry, file, &[]).await?;
    anyhow::ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_file_declares_groups_labels_and_caches() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    member(&registry, &admin, "ann", "guest").await?;
    let file = "
labels:
  signed: {color: '#00ff00'}
groups:
  devs: [ann]
registries:
  hub: {url: 'https://docker.io', username: me, password_file: FILE}
projects:
  hub: {upstream: hub, public: true}
  team:
    members: {admin: projectAdmin, ann: guest, 'group:devs': developer}
    labels: {tested: {description: by us}}
";
    let secret = registry.directory().join("hub-password");
    std::fs::write(&secret, "a password of the hub\n")?;
    let file = file.replace("FILE", &secret.to_string_lossy());
    let done = applied(&registry, &file).await?;
    for step in [
        "registry: label signed",
        "group devs: made",
        "group devs: ann is in it",
        "registry hub: made known",
        "project hub: a cache of hub",
        "project team: group:devs is developer",
        "project team: label tested",
    ] {
        assert!(done.contains(step), "{step}: {done}");
    }
    assert_eq!(applied(&registry, &file).await?, "", "it is so already");
    let known = admin
        .manage(Method::GET, "/registries", Value::Null)
        .await?
        .1;
    assert_eq!(known[0]["url"], "https://docker.io");
    assert_eq!(known[0]["credential"]["access_key"], "me");
    let less = "
labels: {}
groups:
  devs: []
projects:
  hub: {upstream: ''}
  team: {labels: {}}
";
    let done = applied(&registry, less).await?;
    for step in [
        "registry: no label signed",
        "group devs: ann is not in it",
        "project hub: no cache any more",
        "project team: no label tested",
    ] {
        assert!(done.contains(step), "{step}: {done}");
    }
    Ok(())
}

/// Who looks at a change before it is made relies on it.
#[tokio::test]
async fn a_dry_run_refuses_what_would_be_refused() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    member(&registry, &admin, "ann", "guest").await?;
    for (file, why) in [
        ("{new: {rules: [{kind: foo}]}}", "foo"),
        ("{new: {rules: [{kind: retention}]}}", "says what it keeps"),
        (
            "{new: {members: {ann: Maintainer}}}",
            "Maintainer is no role",
        ),
        ("{new: {members: {nobody: guest}}}", "no account nobody"),
        ("{new: {members: {'group:g': guest}}}", "no group g"),
        ("{UPPER: }", "UPPER"),
    ] {
        for flags in [&["--dry-run"][..], &[]] {
            let output = apply(&registry, &format!("projects: {file}"), flags).await?;
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(64), "{file}: {said}");
            assert!(said.contains(why), "{file}: {said}");
            assert!(output.stdout.is_empty(), "{file}: {output:?}");
        }
    }
    let file = "
groups: {g: [ann]}
projects:
  plain:
  new:
    quota: 10GB
    members: {ann: guest, 'group:g': guest}
    rules: [{kind: immutable, tags: v*}, {kind: retention, pulledWithin: 168h}]
";
    let output = apply(&registry, file, &["--dry-run"]).await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(applied(&registry, file).await?, said);
    assert_eq!(applied(&registry, file).await?, "");
    Ok(())
}

#[tokio::test]
async fn a_password_is_set_again_for_who_asks() -> anyhow::Result<()> {
    let (registry, _) = start().await?;
    let secret = registry.directory().join("hub-password");
    std::fs::write(&secret, "the first\n")?;
    let secret = secret.display();
    let file = format!(
        "registries: {{hub: {{url: 'https://docker.io', username: me, password_file: {secret}}}}}"
    );
    let first = applied(&registry, &file).await?;
    assert_eq!(first.trim(), "registry hub: made known");
    let again = apply(&registry, &file, &[]).await?;
    let said = String::from_utf8_lossy(&again.stderr);
    assert!(said.contains("--passwords"), "{said}");
    assert!(again.status.success() && again.stdout.is_empty());
    let again = apply(&registry, &file, &["--passwords"]).await?;
    let said = String::from_utf8_lossy(&again.stdout);
    assert_eq!(said.trim(), "registry hub: changed", "{again:?}");
    Ok(())
}

#[tokio::test]
async fn a_project_with_images_becomes_a_cache_where_that_is_meant() -> anyhow::Result<()> {
    let (registry, admin) = start().await?;
    let project = json!({"project_name": "team"});
    let made = admin.manage(Method::POST, "/projects", project).await?;
    assert_eq!(made.0, 201);
    admin.push_image("team/app", "v1", &bytes(1, 100)).await?;
    let file = "
registries:
  hub: {url: 'https://docker.io'}
projects:
  team: {upstream: hub}
";
    for flags in [&["--dry-run"][..], &[]] {
        let output = apply(&registry, file, flags).await?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(said.contains("replace_images: true"), "{said}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
    let meant = file.replace("upstream: hub", "upstream: hub, replace_images: true");
    let done = applied(&registry, &meant).await?;
    let steps = "registry hub: made known\nproject team: a cache of hub\n";
    assert_eq!(done, steps);
    assert_eq!(applied(&registry, &meant).await?, "");
    assert_eq!(applied(&registry, file).await?, "", "it is one already");
    Ok(())
}
