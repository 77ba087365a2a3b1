//! What callers may do with repositories, and which they may know of.

use super::token::Access;
use super::{Action, Caller, Permission, Role, owner};
use crate::error::{Code, Error};
use crate::logs::Seen;
use crate::meta::{Event, Reach};
use crate::name::RepoName;
use crate::registry::Registry;

/// Whether a caller may do something with a repository.
pub(crate) async fn allows(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
) -> Result<bool, Error> {
    let project = repo.project();
    let public = async || {
        let standing = registry.meta().standing(None, project).await?;
        Ok(action == Action::Pull && standing.is_public)
    };
    match caller {
        Caller::Everyone => Ok(true),
        Caller::Anonymous => public().await,
        Caller::Account(account) if account.is_admin => Ok(true),
        Caller::Account(account) => {
            let standing = registry.meta().standing(Some(account.id), project).await?;
            let by_role = standing.role.is_some_and(|role| role.allows(action));
            Ok(by_role || (action == Action::Pull && standing.is_public))
        }
        Caller::Robot { permissions, .. } => {
            let given = permissions
                .iter()
                .any(|given| given.allows(project, action));
            Ok(given || public().await?)
        }
        Caller::Token { access, .. } => Ok(access.iter().any(|access| {
            let named = access.kind == "repository" && access.name == repo.as_str();
            named && access.actions.iter().any(|name| name == action.name())
        })),
    }
}

/// The repositories that a caller may pull from.
pub(crate) fn reach(caller: &Caller) -> Reach {
    let pulls = |permission: &&Permission| permission.actions.contains(&Action::Pull);
    match caller {
        caller if caller.is_admin() => Reach::All,
        Caller::Account(account) => Reach::Account(account.id),
        Caller::Robot { permissions, .. } => {
            let given = permissions.iter().filter(pulls);
            let projects: Vec<String> = given.map(|given| given.project.clone()).collect();
            match projects.iter().any(|project| project == "*") {
                true => Reach::All,
                false => Reach::Projects(projects),
            }
        }
        Caller::Token { access, .. } => {
            let pulls = |access: &&Access| {
                access.kind == "repository" && access.actions.iter().any(|name| name == "pull")
            };
            let given = access.iter().filter(pulls);
            Reach::Repos(given.map(|access| access.name.clone()).collect())
        }
        Caller::Everyone | Caller::Anonymous => Reach::Projects(Vec::new()),
    }
}

/// The repositories that a caller may know of. Who shows a token that says that it is for the catalog
/// knows of what whom it was given to may pull.
pub(crate) async fn listed(registry: &Registry, caller: &Caller) -> Result<Reach, Error> {
    match caller {
        Caller::Token { access, .. } => {
            let is_catalog = |access: &Access| {
                access.kind == "registry"
                    && access.name == "catalog"
                    && access.actions.iter().any(|name| name == "*")
            };
            if !access.iter().any(is_catalog) {
                let message = "the list of repositories needs a token that is for it";
                return Err(Error::new(Code::Unauthorized, message));
            }
            let owner = owner(registry, caller).await?;
            Ok(owner.map_or(Reach::Projects(Vec::new()), |owner| reach(&owner)))
        }
        caller => Ok(reach(caller)),
    }
}

/// What a caller has in a project, and what it would need to do something there.
async fn why_not(
    registry: &Registry,
    caller: &Caller,
    project: &str,
    action: Action,
) -> Result<String, Error> {
    if let Caller::Robot { permissions, .. } = caller {
        let given = Action::ALL.into_iter().filter(|action| {
            let mut given = permissions.iter();
            given.any(|given| given.allows(project, *action))
        });
        let given: Vec<&str> = given.map(Action::name).collect();
        return Ok(match given.is_empty() {
            true => format!("this robot has no permission in project {project}"),
            false => format!(
                "this robot may only {} in project {project}",
                given.join(", ")
            ),
        });
    }
    let account = match caller {
        Caller::Account(account) => Some(account.id),
        _ => None,
    };
    let standing = registry.meta().standing(account, project).await?;
    let least = Role::least(action).name();
    Ok(match standing.role {
        Some(role) => {
            let role = role.name();
            format!("the role in project {project} is {role}, and it takes {least}")
        }
        None => format!("there is no role in project {project}, and it takes {least}"),
    })
}

/// Why a caller may not do something with a repository.
pub(super) async fn may_not(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
) -> Result<String, Error> {
    let why = why_not(registry, caller, repo.project(), action).await?;
    let (who, name) = (caller.name(), action.name());
    Ok(format!("{who} may not {name} {repo}: {why}"))
}

/// Refuses what a caller may not do with a repository, and says so in the audit trail.
pub(crate) async fn authorize(
    registry: &Registry,
    caller: &Caller,
    repo: &RepoName,
    action: Action,
    seen: &Seen,
) -> Result<(), Error> {
    if allows(registry, caller, repo, action).await? {
        return Ok(());
    }
    let name = action.name();
    match caller {
        // Who has shown nothing, or too weak a token, may show more.
        Caller::Anonymous | Caller::Token { .. } => {
            let message = format!("{name} of {repo} needs a login that may do that");
            Err(Error::new(Code::Unauthorized, message))
        }
        _ => {
            let message = may_not(registry, caller, repo, action).await?;
            let event = Event::new("access_denied", "repository", repo.as_str()).in_repo(repo);
            let error = Error::new(Code::Denied, message).with_event(event);
            Err(error.told(registry.meta(), &caller.who(seen)).await)
        }
    }
}
