//! What the registry would refuse when part of a file is done already, or what a dry run would not
//! meet: it is looked for before anything is done.

use std::collections::BTreeSet;

use super::super::asked::Client;
use super::{GROUP, Rule, Wanted, upstreams};
use crate::error::CliError;

/// Refuses a file that names what is not there, or says what cannot be.
pub(super) async fn check(client: &Client, wanted: &Wanted) -> Result<(), CliError> {
    for (name, project) in &wanted.projects {
        let wrong = |why: &str| CliError::Usage(format!("project {name}: {why}"));
        if !is_name(name) {
            let why = "a name has lower case letters and digits, and ., _ and - between them";
            return Err(wrong(why));
        }
        let rules = project.rules.iter().flatten();
        if let Some(why) = rules.filter_map(Rule::wrong).next() {
            return Err(wrong(why));
        }
    }
    let made = |group: &str| wanted.groups.contains_key(group);
    let (mut accounts, mut groups) = (Vec::new(), Vec::new());
    for (of, name) in named(wanted) {
        match name.strip_prefix(GROUP) {
            None => accounts.push((of, name)),
            Some(group) if !made(group) => groups.push((of, group)),
            Some(_) => {}
        }
    }
    require(client, "account", ("/users/search", "username"), &accounts).await?;
    let listed = ("/usergroups/search", "group_name");
    require(client, "group", listed, &groups).await?;
    upstreams::check_replaces(client, wanted).await
}

/// Whether a project may have the name, as far as its letters go.
fn is_name(name: &str) -> bool {
    let is_word = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    name.starts_with(is_word)
        && name.ends_with(is_word)
        && name
            .chars()
            .all(|char| is_word(char) || "._-".contains(char))
}

/// The accounts and groups that a file names, and where.
fn named(wanted: &Wanted) -> impl Iterator<Item = (String, &str)> {
    let of_groups = wanted.groups.iter().flat_map(|(group, accounts)| {
        let names = accounts.iter().map(String::as_str);
        names.map(move |name| (format!("group {group}"), name))
    });
    let of_projects = wanted.projects.iter().flat_map(|(project, wanted)| {
        let names = wanted.members.iter().flat_map(|members| members.keys());
        names.map(move |name| (format!("project {project}"), name.as_str()))
    });
    of_groups.chain(of_projects)
}

/// Refuses names that are not in a list, which is at a path and has names under a key.
async fn require(
    client: &Client,
    kind: &str,
    (path, key): (&str, &str),
    named: &[(String, &str)],
) -> Result<(), CliError> {
    if named.is_empty() {
        return Ok(());
    }
    let all = client.all(path).await?;
    let known: BTreeSet<&str> = all.iter().filter_map(|one| one[key].as_str()).collect();
    match named.iter().find(|(_, name)| !known.contains(name)) {
        None => Ok(()),
        Some((of, name)) => {
            let why = format!("{of}: there is no {kind} {name}");
            Err(CliError::Usage(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_projects_are_names() {
        for name in ["a", "team-1", "a.b__c"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "UPPER", "-a", "a.", "a b", "a/b"] {
            assert!(!is_name(name), "{name}");
        }
    }
}
