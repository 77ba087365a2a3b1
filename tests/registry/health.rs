//! What balancers and orchestrators ask on the registry's own port.

use std::time::Duration;

use reqwest::Method;
use tests::registry::{Kind, LOCAL, Registry, text};
use tests::wait_for;

#[tokio::test]
async fn readiness_is_that_of_database_and_store_and_life_is_not() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[LOCAL]).await?;
        let client = registry.client();
        for path in ["/livez", "/readyz"] {
            assert_eq!(client.status(Method::GET, path).await?, 200, "{path}");
        }
        // The store goes away and comes back.
        let store = match kind {
            Kind::Files => registry.directory().join("data/registry/store"),
            Kind::S3 => registry.directory().join("s3"),
        };
        let away = registry.directory().join("away");
        for (from, to, status) in [(&store, &away, 503), (&away, &store, 200)] {
            std::fs::rename(from, to)?;
            let patience = Duration::from_secs(20);
            let said = wait_for("the change to be seen", patience, async || {
                let ready = client.request(Method::GET, "/readyz").send().await.ok()?;
                (ready.status() == status).then_some(ready)
            });
            let said = text(said.await?).await;
            assert!(status == 200 || said.contains("the store"), "{said}");
            assert_eq!(client.status(Method::GET, "/livez").await?, 200);
        }
        let log = registry.directory().join("data/log/registry-access.log");
        let log = std::fs::read_to_string(log).unwrap_or_default();
        assert!(!log.contains("readyz") && !log.contains("livez"), "{log}");
    }
    Ok(())
}
