//! The page that shows what there is.

use reqwest::Method;
use tests::registry::{Kind, LOCAL, Registry, header};

#[tokio::test]
async fn a_page_shows_what_there_is_and_loads_nothing_of_others() -> anyhow::Result<()> {
    let registry = Registry::start(Kind::Files, &[LOCAL]).await?;
    let client = registry.client();
    let page = client.request(Method::GET, "/").send().await?;
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/ui/"));
    let policy = header(&page, "content-security-policy")?;
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
    assert!(header(&page, "content-type")?.starts_with("text/html"));
    let page = page.text().await?;
    for (name, kind) in [("page.js", "text/javascript"), ("page.css", "text/css")] {
        assert!(page.contains(name), "{name}");
        let part = client
            .request(Method::GET, &format!("/ui/{name}"))
            .send()
            .await?;
        assert_eq!(header(&part, "content-type")?, kind);
        // An address with a login in it is no address for a browser to ask of a page.
        let text = part.text().await?;
        assert!(!text.contains("fetch(") || text.contains("fetch(location.origin +"));
        // Every list is shown by pages.
        assert!(!text.contains("page_size=1"), "{name}");
    }
    // Browsers look for an icon, also where the page names none.
    assert!(page.contains("icon.svg"));
    for path in ["/ui/icon.svg", "/favicon.ico"] {
        let icon = client.request(Method::GET, path).send().await?;
        assert_eq!(
            (
                icon.status().as_u16(),
                header(&icon, "content-type")?.as_str()
            ),
            (200, "image/svg+xml")
        );
    }
    // A browser asks who it is that looks.
    let asked = client
        .request(Method::GET, "/api/v2.0/users/current")
        .send()
        .await?;
    let challenges = asked.headers().get_all("www-authenticate");
    assert!(
        challenges
            .iter()
            .any(|value| value.as_bytes().starts_with(b"Basic "))
    );
    Ok(())
}

#[tokio::test]
async fn a_registrys_process_leads_only_to_pages_that_it_has() -> anyhow::Result<()> {
    let mut registry = Registry::start(Kind::Files, &[]).await?;
    let api = registry.process()?.api();
    let (status, index) = api.get("/ui/", &[]).await?;
    assert_eq!(status, 200);
    let links: Vec<&str> = index.split("href=\"").skip(1).collect();
    assert!(links.len() > 5, "{index}");
    for link in links.iter().filter_map(|link| link.split('"').next()) {
        assert_eq!(api.get(link, &[]).await?.0, 200, "{link}");
    }
    Ok(())
}
