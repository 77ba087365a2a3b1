//! The pages that show who is in the cluster, at the paths where operators of Loki look for rings.
//!
//! There is one ring, that of the ingesters. Where Loki has a ring for another component, the page
//! shows the members that do its work here.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCEPT, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Form, Json, Router};
use cluster::{Cluster, ForgetError, Health, Member, Role};
use serde::{Deserialize, Serialize};

/// Loki's pages and who does the work; all members for `None`.
const PAGES: [(&str, Option<Role>); 12] = [
    ("/ring", Some(Role::Ingester)),
    ("/distributor/ring", Some(Role::Distributor)),
    ("/pattern/ring", Some(Role::Ingester)),
    ("/ruler/ring", Some(Role::Querier)),
    ("/scheduler/ring", Some(Role::Querier)),
    ("/indexgateway/ring", Some(Role::Querier)),
    ("/compactor/ring", Some(Role::Compactor)),
    ("/ingest-limits/ring", Some(Role::Distributor)),
    ("/ingest-limits-frontend/ring", Some(Role::Distributor)),
    ("/dataobj-consumer/ring", Some(Role::Ingester)),
    // Streams belong to ingesters, not to partitions of a queue.
    ("/partition-ring", Some(Role::Ingester)),
    ("/memberlist", None),
];

/// The pages. They belong to nobody.
pub(super) fn routes(cluster: Arc<Cluster>) -> Router {
    PAGES
        .into_iter()
        .fold(Router::new(), |routes, (path, role)| {
            let page = async move |State(cluster): State<Arc<Cluster>>, headers: HeaderMap| {
                page(&cluster, role, &headers)
            };
            routes.route(path, get(page).post(forget))
        })
        .with_state(cluster)
}

/// A member, with the names that Loki's ring pages give its facts.
#[derive(Serialize)]
struct Shard<'a> {
    id: &'a str,
    state: String,
    address: &'a str,
    zone: &'a str,
    health: String,
    roles: Vec<String>,
    #[serde(skip)]
    is_dead: bool,
}

#[derive(Serialize)]
struct Ring<'a> {
    shards: Vec<Shard<'a>>,
}

fn page(cluster: &Cluster, role: Option<Role>, headers: &HeaderMap) -> Response {
    let members = cluster.members();
    let shown = members
        .list
        .iter()
        .filter(|member| role.is_none_or(|role| member.has_role(role)));
    let shards: Vec<Shard<'_>> = shown.map(|member| shard(member)).collect();
    let wants_json = headers
        .get(ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    if wants_json {
        Json(Ring { shards }).into_response()
    } else {
        Html(html(&shards)).into_response()
    }
}

/// What the button of a dead member sends.
#[derive(Deserialize)]
struct Forget {
    /// The member's name.
    forget: String,
}

/// `POST` with `forget=NAME`: forgets a dead member and leads back to the page, as in Loki.
async fn forget(State(cluster): State<Arc<Cluster>>, Form(form): Form<Forget>) -> Response {
    match cluster.forget(&form.forget).await {
        Ok(()) => (StatusCode::FOUND, [(LOCATION, "#")]).into_response(),
        Err(error) => {
            let status = match error {
                ForgetError::Unknown => StatusCode::NOT_FOUND,
                ForgetError::Alive | ForgetError::Listed => StatusCode::BAD_REQUEST,
            };
            (status, format!("{}: {error}\n", form.forget)).into_response()
        }
    }
}

fn shard(member: &Member) -> Shard<'_> {
    Shard {
        id: &member.id,
        state: member.state.to_string(),
        address: &member.grpc_addr,
        zone: &member.zone,
        health: format!("{:?}", member.health),
        roles: member.roles.iter().map(ToString::to_string).collect(),
        is_dead: member.health == Health::Dead,
    }
}

fn html(shards: &[Shard<'_>]) -> String {
    let mut page = String::from(
        "<!DOCTYPE html><html><head><meta charset=\"utf-8\"><title>Members</title></head><body>\
         <table><tr><th>Instance</th><th>State</th><th>Address</th><th>Zone</th><th>Health</th>\
         <th>Roles</th></tr>",
    );
    for shard in shards {
        let roles = shard.roles.join(", ");
        page.push_str("<tr>");
        for cell in [
            shard.id,
            &shard.state,
            shard.address,
            shard.zone,
            &shard.health,
            &roles,
        ] {
            let _ = write!(page, "<td>{}</td>", escaped(cell));
        }
        if shard.is_dead {
            let _ = write!(
                page,
                "<td><form method=\"post\"><button name=\"forget\" value=\"{}\">Forget</button></form></td>",
                escaped(shard.id)
            );
        }
        page.push_str("</tr>");
    }
    page.push_str("</table></body></html>");
    page
}

/// Text that HTML does not read as markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_members_are_no_markup() {
        let member = Member::new("<b>\"1\"", "10.0.0.1:9095", &[Role::Ingester]);
        let page = html(&[shard(&member)]);
        assert!(
            page.contains("<td>&lt;b&gt;&quot;1&quot;</td><td>ACTIVE</td><td>10.0.0.1:9095</td>")
        );
    }
}
