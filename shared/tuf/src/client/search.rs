//! Where a file is listed: the search through delegations, and the list of a whole repository.

use std::collections::BTreeSet;

use sigstore_tuf::{TargetFile, Targets};

use super::bins::Bins;
use super::workflow::{Step, TARGETS};
use super::{VerifyError, Workflow};

/// The most targets roles that the search for one file visits, as in python-tuf.
const MOST_DELEGATIONS: usize = 32;
/// No delegated role has the name of one of these: it would be kept in its place.
const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", TARGETS];

/// The pre-order, depth-first search for one file (specification, section 5.6.7).
#[derive(Debug)]
pub(super) struct Search {
    path: String,
    /// Roles to visit and who delegates to them, the next one last.
    stack: Vec<(String, String)>,
    visited: BTreeSet<String>,
}

impl Workflow {
    /// Looks for the wanted files, one after the other, until one is found or a role must be read.
    pub(super) fn search(&mut self) -> Result<Option<(String, u64)>, VerifyError> {
        let Some(mut search) = self.search.take().or_else(|| {
            self.wanted.pop_front().map(|path| Search {
                path,
                stack: vec![(TARGETS.to_owned(), "root".to_owned())],
                visited: BTreeSet::new(),
            })
        }) else {
            self.step = self.after_last_search()?;
            return Ok(None);
        };
        while let Some((role, delegator)) = search.stack.pop() {
            if search.visited.contains(&role) {
                continue;
            }
            if search.visited.len() >= MOST_DELEGATIONS {
                break;
            }
            let Some(targets) = self.targets_role(&role)? else {
                if self.pin_of_role(&role)?.is_some() {
                    // Read it, then visit it again.
                    search.stack.push((role.clone(), delegator.clone()));
                    self.search = Some(search);
                    self.step = Step::Role { role, delegator };
                    return Ok(None);
                }
                // Whoever signs snapshots could hide a role, so that one of lower priority is asked.
                return Err(VerifyError::Malformed(format!(
                    "{delegator} delegates to {role}, and the snapshot pins no {role}.json"
                )));
            };
            // It may have been read on the word of another delegator.
            self.check_delegation(&role, &delegator)?;
            search.visited.insert(role.clone());
            if let Some(file) = visit(targets, &role, &mut search)? {
                let path = search.path;
                self.step = Step::File { path, file };
                return Ok(None);
            }
        }
        // No role lists it.
        if self.all_listed {
            let why = format!("no role lists '{}'", search.path);
            return Err(VerifyError::Missing(why));
        }
        Ok(None)
    }

    /// Whether `delegator` lets the trusted `role` be signed as it is.
    fn check_delegation(&self, role: &str, delegator: &str) -> Result<(), VerifyError> {
        if role == TARGETS {
            return Ok(());
        }
        if self.bins_of(delegator)?.is_none() {
            let set = self.set()?;
            set.verify_delegated_targets(role, delegator, self.now)?;
            return Ok(());
        }
        let bytes = self.verified().roles.get(role);
        let bytes = bytes.map(Vec::as_slice).unwrap_or_default();
        self.verify_bin(bytes, role, delegator)?;
        Ok(())
    }

    /// Nothing more is wanted, unless it is the whole repository: then the roles, and then the files.
    fn after_last_search(&mut self) -> Result<Step, VerifyError> {
        if !self.whole {
            return Ok(Step::Done);
        }
        if let Some((role, delegator)) = self.unread_role()? {
            return Ok(Step::Role { role, delegator });
        }
        self.whole = false;
        self.wanted = self.all_paths()?.into_iter().collect();
        Ok(Step::Search)
    }

    /// The next role that is delegated to and was not read, with its
    /// delegator.
    fn unread_role(&self) -> Result<Option<(String, String)>, VerifyError> {
        let set = self.set()?;
        for delegator in self.role_names() {
            let Some(targets) = set.targets_role(delegator) else {
                continue;
            };
            if Bins::of(targets)?.is_some() {
                return Err(VerifyError::Malformed(format!(
                    "{delegator} delegates to bins, and a repository in bins is not read as a whole"
                )));
            }
            let children = targets.delegations.iter().flat_map(|all| &all.roles);
            for child in children {
                let name = child.name.as_str();
                if TOP_LEVEL.contains(&name) || set.targets_role(name).is_some() {
                    continue;
                }
                if self.role_names().count() >= MOST_DELEGATIONS {
                    let why = format!("more than {MOST_DELEGATIONS} targets roles");
                    return Err(VerifyError::Malformed(why));
                }
                return Ok(Some((child.name.clone(), delegator.to_owned())));
            }
        }
        Ok(None)
    }

    /// Every path that a role lists.
    fn all_paths(&self) -> Result<BTreeSet<String>, VerifyError> {
        let set = self.set()?;
        let roles = self.role_names().filter_map(|role| set.targets_role(role));
        Ok(roles
            .flat_map(|targets| targets.targets.keys().cloned())
            .collect())
    }
}

/// The file that `role` lists, or else the roles that it delegates the path to, onto the stack.
fn visit(
    targets: &Targets,
    role: &str,
    search: &mut Search,
) -> Result<Option<TargetFile>, VerifyError> {
    if let Some(file) = targets.target(&search.path) {
        return Ok(Some(file.clone()));
    }
    if let Some(bins) = Bins::of(targets)? {
        search
            .stack
            .push((bins.name(&search.path), role.to_owned()));
        return Ok(None);
    }
    let delegated = targets.delegations.iter().flat_map(|all| &all.roles);
    let mut children = Vec::new();
    for child in delegated {
        if TOP_LEVEL.contains(&child.name.as_str()) {
            continue;
        }
        if child.matches_path(&search.path)? {
            children.push((child.name.clone(), role.to_owned()));
            if child.terminating {
                search.stack.clear();
                break;
            }
        }
    }
    search.stack.extend(children.into_iter().rev());
    Ok(None)
}
