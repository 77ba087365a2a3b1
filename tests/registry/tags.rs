//! Lists of tags and repositories, by pages.

use reqwest::Method;
use serde_json::json;
use tests::registry::{Kind, MANIFEST, Registry, bytes, code, header};

#[tokio::test]
async fn tags_by_pages_in_order() -> anyhow::Result<()> {
    for kind in Kind::ALL {
        let registry = Registry::start(kind, &[]).await?;
        let client = registry.client();
        let manifest = client.push_image("a/b", "v1", &bytes(1, 10)).await?;
        // Some are the beginning of others; capital letters come first.
        for tag in ["v1.0", "v10", "v", "latest", "V2", "_x"] {
            client.put_manifest("a/b", tag, MANIFEST, &manifest).await?;
        }
        let all = ["V2", "_x", "latest", "v", "v1", "v1.0", "v10"];
        let list = "/v2/a/b/tags/list";
        assert_eq!(
            client.json(list).await?,
            json!({"name": "a/b", "tags": all})
        );
        let last = client.json(&format!("{list}?last=v1")).await?;
        assert_eq!(last["tags"], json!(["v1.0", "v10"]));
        let none = client
            .request(Method::GET, &format!("{list}?n=0"))
            .send()
            .await?;
        assert!(!none.headers().contains_key("link"));
        assert_eq!(none.json::<serde_json::Value>().await?["tags"], json!([]));

        let (mut path, mut found) = (format!("{list}?n=3"), Vec::new());
        loop {
            let page = client.request(Method::GET, &path).send().await?;
            let link = page.headers().get("link").cloned();
            let page: serde_json::Value = page.json().await?;
            found.extend(page["tags"].as_array().cloned().unwrap_or_default());
            let Some(link) = link else { break };
            let link = link.to_str()?;
            assert!(link.ends_with(r#">; rel="next""#), "{link}");
            path = link[1..link.find('>').unwrap()].to_owned();
        }
        assert_eq!(json!(found), json!(all));
        let exact = client
            .request(Method::GET, &format!("{list}?n=7"))
            .send()
            .await?;
        assert!(!exact.headers().contains_key("link"));
        let wrong = client
            .request(Method::GET, &format!("{list}?n=x"))
            .send()
            .await?;
        assert_eq!(wrong.status(), 400);
        let unknown = client
            .request(Method::GET, "/v2/none/tags/list")
            .send()
            .await?;
        assert_eq!(unknown.status(), 404);
        assert_eq!(code(unknown).await?, "NAME_UNKNOWN");
    }
    Ok(())
}

#[tokio::test]
async fn the_catalog_has_all_repositories() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[]).await?;
    let client = registry.client();
    for repo in ["b", "a/x", "a", "c/d/e"] {
        client.push_image(repo, "v1", &bytes(2, 10)).await?;
    }
    let all = client.json("/v2/_catalog").await?;
    assert_eq!(all["repositories"], json!(["a", "a/x", "b", "c/d/e"]));
    let page = client
        .request(Method::GET, "/v2/_catalog?n=2")
        .send()
        .await?;
    let link = header(&page, "link")?;
    assert!(link.contains("last=a/x"), "{link}");
    let rest = client.json("/v2/_catalog?n=2&last=a/x").await?;
    assert_eq!(rest["repositories"], json!(["b", "c/d/e"]));
    Ok(())
}
