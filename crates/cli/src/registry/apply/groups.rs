//! Groups that a file declares, each with all of its accounts.

use std::collections::{BTreeMap, BTreeSet};

use super::super::asked::Client;
use super::super::groups::{add, create, remove};
use super::{Does, Step};
use crate::error::CliError;

/// Makes groups what a file says that they are.
pub(super) async fn apply(
    client: &Client,
    does: &mut Does<'_>,
    wanted: &BTreeMap<String, BTreeSet<String>>,
) -> Result<(), CliError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let known = client.all("/usergroups").await?;
    let numbers: BTreeMap<&str, i64> = known
        .iter()
        .filter_map(|group| Some((group["group_name"].as_str()?, group["id"].as_i64()?)))
        .collect();
    for (name, wanted) in wanted {
        let (number, are) = match numbers.get(name.as_str()) {
            Some(number) => (*number, members(client, *number).await?),
            None => {
                let made = ("made".to_owned(), create(name));
                let made = does.step(&format!("group {name}"), made).await?;
                (made["id"].as_i64().unwrap_or_default(), BTreeSet::new())
            }
        };
        for step in plan(number, wanted, &are) {
            does.step(&format!("group {name}"), step).await?;
        }
    }
    Ok(())
}

async fn members(client: &Client, number: i64) -> Result<BTreeSet<String>, CliError> {
    let path = format!("/usergroups/{number}/members");
    let members = client.all(&path).await?;
    let name = |member: &serde_json::Value| Some(member["username"].as_str()?.to_owned());
    Ok(members.iter().filter_map(name).collect())
}

fn plan(number: i64, wanted: &BTreeSet<String>, are: &BTreeSet<String>) -> Vec<Step> {
    let added = wanted.difference(are);
    let added = added.map(|name| (format!("{name} is in it"), add(number, name)));
    let gone = are.difference(wanted);
    let gone = gone.map(|name| (format!("{name} is not in it"), remove(number, name)));
    added.chain(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_differs_comes_and_goes() {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let steps = plan(7, &set(&["ann", "bob"]), &set(&["bob", "eve"]));
        let steps: Vec<String> = steps
            .iter()
            .map(|(_, asked)| format!("{} {}", asked.method, asked.path))
            .collect();
        assert_eq!(
            steps,
            [
                "POST /usergroups/7/members",
                "DELETE /usergroups/7/members/eve"
            ]
        );
    }
}
