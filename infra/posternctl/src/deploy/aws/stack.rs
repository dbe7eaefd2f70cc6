//! The stack: what `CloudFormation` knows of a deployment, and how it is changed.
//!
//! Every change is a change set, which says what it would do before it does it. An answer that was lost is no
//! harm: whoever runs the command again finds the stack as it is.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, bail};
use roxmltree::{Document, Node};

use super::client::{Client, Refused, Service, element};
use super::function::{self, List, NO_VERSION};
use crate::now;

const CLOUDFORMATION: Service = Service("cloudformation");
/// The version of its API.
const VERSION: &str = "2010-05-15";
/// The template, a part of this program: the two never differ.
pub const TEMPLATE: &str = include_str!("../../../../aws/postern.yaml");
/// From one look at what is under way to the next: `CloudFormation` tells nobody when it is done.
const LOOK: Duration = Duration::from_millis(500);
/// The longest of those: a front door takes minutes, and looks are limited.
const LONGEST_LOOK: Duration = Duration::from_secs(5);

/// The parameters or outputs of a stack.
pub type Texts = BTreeMap<String, String>;

/// A stack by its name.
pub struct Stack<'a> {
    aws: &'a Client,
    name: String,
}

/// How a stack is.
#[derive(Clone, Debug)]
pub struct State {
    /// `CloudFormation`'s word for it.
    pub status: String,
    /// Its parameters.
    pub parameters: Texts,
    /// Its outputs.
    pub outputs: Texts,
}

impl State {
    /// The versions that answer now. One that was told for a function that is gone is none.
    pub fn live(&self) -> List {
        let mut live = List::read(self.parameters.get("Live"), NO_VERSION);
        for (own, newest) in live.0.iter_mut().zip(self.newest().0) {
            if own == NO_VERSION || newest == NO_VERSION {
                *own = newest;
            }
        }
        live
    }

    /// The versions that the last change of functions made.
    pub fn newest(&self) -> List {
        List(function::ALL.map(|function| {
            let made = self
                .outputs
                .get(&format!("{}Version", function::part(function)));
            made.cloned().unwrap_or_else(|| NO_VERSION.to_owned())
        }))
    }

    /// The release that is deployed; none while there are no functions.
    pub fn release(&self) -> Option<&str> {
        let release = self.parameters.get("Release").map(String::as_str);
        release.filter(|release| !release.is_empty())
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> anyhow::Result<&str> {
        let found = self.outputs.get(name).map(String::as_str);
        found.with_context(|| format!("the stack says no {name}: deploy it anew"))
    }
}

/// A change that was shown and not made.
pub struct Plan {
    name: String,
    /// What it does to which part: `Add Table (AWS::DynamoDB::Table)`.
    pub changes: Vec<String>,
}

impl<'a> Stack<'a> {
    /// The stack of this name, which need not be there.
    pub fn new(aws: &'a Client, name: &str) -> Self {
        Self {
            aws,
            name: name.to_owned(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is, as soon as nothing is under way; nothing where there is none.
    pub async fn settled(&self) -> anyhow::Result<Option<State>> {
        let mut look = LOOK;
        loop {
            let state = self.state().await?;
            match &state {
                Some(state) if state.status.ends_with("_IN_PROGRESS") && !is_in_review(state) => {}
                _ => return Ok(state.filter(|state| !is_in_review(state))),
            }
            tokio::time::sleep(look).await;
            look = (look * 2).min(LONGEST_LOOK);
        }
    }

    async fn state(&self) -> anyhow::Result<Option<State>> {
        let answer = self.call("DescribeStacks", &[]).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let document = Document::parse(&answer)?;
        let status = element(&document, "StackStatus").context("the stack has no status")?;
        if status == "DELETE_COMPLETE" {
            return Ok(None);
        }
        Ok(Some(State {
            status: status.to_owned(),
            parameters: texts(&document, "Parameters", "ParameterKey", "ParameterValue"),
            outputs: texts(&document, "Outputs", "OutputKey", "OutputValue"),
        }))
    }

    /// What would change with this program's template and these parameters, or with the stack's own template
    /// where it only shall get others; those that are not named stay as they are. Nothing where nothing would.
    pub async fn plan(
        &self,
        before: Option<&State>,
        with: Template,
        parameters: &Texts,
    ) -> anyhow::Result<Option<Plan>> {
        let name = format!("posternctl-{}", now().as_millisecond());
        let kind = if before.is_some() { "UPDATE" } else { "CREATE" };
        let mut asked = vec![
            ("ChangeSetName".to_owned(), name.clone()),
            ("ChangeSetType".to_owned(), kind.to_owned()),
            (
                "Capabilities.member.1".to_owned(),
                "CAPABILITY_IAM".to_owned(),
            ),
            ("Tags.member.1.Key".to_owned(), "postern".to_owned()),
            ("Tags.member.1.Value".to_owned(), self.name.clone()),
        ];
        asked.push(match with {
            Template::Ours => ("TemplateBody".to_owned(), TEMPLATE.to_owned()),
            Template::AsItIs => ("UsePreviousTemplate".to_owned(), "true".to_owned()),
        });
        let kept = before
            .map(|state| state.parameters.keys())
            .into_iter()
            .flatten();
        let kept = kept.filter(|key| !parameters.contains_key(*key));
        let kept = kept.map(|key| (key, None));
        let told = parameters.iter().map(|(key, text)| (key, Some(text)));
        for (number, (key, text)) in (1..).zip(told.chain(kept)) {
            let member = format!("Parameters.member.{number}");
            asked.push((format!("{member}.ParameterKey"), key.clone()));
            asked.push(match text {
                Some(text) => (format!("{member}.ParameterValue"), text.clone()),
                None => (format!("{member}.UsePreviousValue"), "true".to_owned()),
            });
        }
        let asked: Vec<(&str, &str)> = asked
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        self.call("CreateChangeSet", &asked).await?;
        self.planned(name).await
    }

    async fn planned(&self, name: String) -> anyhow::Result<Option<Plan>> {
        let mut look = LOOK / 5;
        let mut changes = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut asked = vec![("ChangeSetName", name.as_str())];
            if let Some(next) = &next {
                asked.push(("NextToken", next));
            }
            let answer = self.call("DescribeChangeSet", &asked).await?;
            let document = Document::parse(&answer)?;
            let status = child(document.root_element().first_element_child(), "Status");
            match status.unwrap_or_default() {
                "CREATE_COMPLETE" => {
                    changes.extend(shown(&document));
                    next = element(&document, "NextToken").map(str::to_owned);
                    if next.is_none() {
                        return Ok(Some(Plan { name, changes }));
                    }
                }
                "FAILED" => {
                    let why = element(&document, "StatusReason")
                        .unwrap_or_default()
                        .to_owned();
                    self.drop_plan(&Plan { name, changes }).await?;
                    // AWS's own two texts for it; it has no word of its own.
                    if why.contains("didn't contain changes") || why.contains("No updates") {
                        return Ok(None);
                    }
                    bail!("CloudFormation refuses the change: {why}");
                }
                _ => {
                    tokio::time::sleep(look).await;
                    look = (look * 2).min(LONGEST_LOOK);
                }
            }
        }
    }

    /// Forgets a plan that is not wanted, and the stack that was begun for it alone.
    pub async fn drop_plan(&self, plan: &Plan) -> anyhow::Result<()> {
        self.call("DeleteChangeSet", &[("ChangeSetName", &plan.name)])
            .await?;
        if self
            .state()
            .await?
            .is_some_and(|state| is_in_review(&state))
        {
            self.call("DeleteStack", &[]).await?;
        }
        Ok(())
    }

    /// Makes the change, and waits until it is made.
    pub async fn execute(&self, plan: &Plan) -> anyhow::Result<State> {
        let began = now();
        let asked = [
            ("ChangeSetName", plan.name.as_str()),
            // A version that a failed change made would stand in the way of the next one.
            ("RetainExceptOnCreate", "true"),
        ];
        self.call("ExecuteChangeSet", &asked).await?;
        let state = self.settled().await?.context("the stack is gone")?;
        if matches!(state.status.as_str(), "CREATE_COMPLETE" | "UPDATE_COMPLETE") {
            return Ok(state);
        }
        let why = self.failures(began).await?;
        bail!(
            "CloudFormation could not make the change and took it back ({}): {}",
            state.status,
            why.join("; ")
        )
    }

    /// Removes the stack, and waits until it is gone.
    pub async fn delete(&self) -> anyhow::Result<()> {
        let began = now();
        self.call("DeleteStack", &[]).await?;
        let Some(state) = self.settled().await? else {
            return Ok(());
        };
        let why = self.failures(began).await?;
        bail!(
            "CloudFormation could not remove everything ({}): {}",
            state.status,
            why.join("; ")
        )
    }

    /// The parts of the stack: `Table (AWS::DynamoDB::Table)`, with what AWS calls each.
    pub async fn parts(&self) -> anyhow::Result<Vec<(String, String)>> {
        let answer = self.call("DescribeStackResources", &[]).await?;
        let document = Document::parse(&answer)?;
        let parts = members(&document, "StackResources").map(|node| {
            let text = |name| child(Some(node), name).unwrap_or_default();
            let named = format!("{} ({})", text("LogicalResourceId"), text("ResourceType"));
            (named, text("PhysicalResourceId").to_owned())
        });
        Ok(parts.collect())
    }

    /// What went wrong since `began`, in `CloudFormation`'s words, the first first.
    async fn failures(&self, began: jiff::Timestamp) -> anyhow::Result<Vec<String>> {
        let answer = self.call("DescribeStackEvents", &[]).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let document = Document::parse(&answer)?;
        let mut failures: Vec<String> = members(&document, "StackEvents")
            .filter_map(|node| {
                let text = |name| child(Some(node), name);
                let at: jiff::Timestamp = text("Timestamp")?.parse().ok()?;
                let failed = text("ResourceStatus")?.ends_with("_FAILED");
                let why = text("ResourceStatusReason").unwrap_or("no reason");
                // Clocks differ a little.
                let is_of_this = at >= began - jiff::SignedDuration::from_secs(5);
                (failed && is_of_this)
                    .then(|| format!("{}: {why}", text("LogicalResourceId").unwrap_or_default()))
            })
            .collect();
        failures.reverse();
        Ok(failures)
    }

    async fn call(&self, action: &str, parameters: &[(&str, &str)]) -> anyhow::Result<String> {
        let mut asked = vec![("StackName", self.name.as_str())];
        asked.extend_from_slice(parameters);
        self.aws
            .query(CLOUDFORMATION, VERSION, action, &asked)
            .await
    }
}

/// Which template a change is with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// The one that is a part of this program.
    Ours,
    /// The one that the stack has.
    AsItIs,
}

/// A stack that a change set was made for, and nothing else.
fn is_in_review(state: &State) -> bool {
    state.status == "REVIEW_IN_PROGRESS"
}

/// `CloudFormation` has no word of its own for a stack that is not there.
fn is_absent(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<Refused>();
    refused.is_some_and(|refused| {
        refused.code == "ValidationError" && refused.message.contains("does not exist")
    })
}

/// The members of the list `name`.
fn members<'a, 'input>(
    document: &'a Document<'input>,
    name: &'a str,
) -> impl Iterator<Item = Node<'a, 'input>> {
    let lists = document
        .descendants()
        .filter(move |node| node.tag_name().name() == name);
    lists.flat_map(|list| list.children().filter(Node::is_element))
}

/// The text of the child `name`.
fn child<'a>(node: Option<Node<'a, '_>>, name: &str) -> Option<&'a str> {
    let found = node?
        .children()
        .find(|child| child.tag_name().name() == name)?;
    found.text()
}

fn texts(document: &Document<'_>, list: &str, key: &str, text: &str) -> Texts {
    let pairs = members(document, list).filter_map(|node| {
        let text = child(Some(node), text).unwrap_or_default();
        Some((child(Some(node), key)?.to_owned(), text.to_owned()))
    });
    pairs.collect()
}

fn shown(document: &Document<'_>) -> Vec<String> {
    let changes = members(document, "Changes").filter_map(|node| {
        let mut parts = node.children();
        let change = parts.find(|part| part.tag_name().name() == "ResourceChange")?;
        let text = |name| child(Some(change), name).unwrap_or_default();
        let again = if text("Replacement") == "True" {
            ", anew"
        } else {
            ""
        };
        Some(format!(
            "{} {} ({}{again})",
            text("Action"),
            text("LogicalResourceId"),
            text("ResourceType")
        ))
    });
    changes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most bytes that a request may carry (`CloudFormation`'s quotas, "Template body size in a request").
    const MOST_TEMPLATE: usize = 51_200;

    #[test]
    fn the_template_fits_into_a_request() {
        assert!(TEMPLATE.len() < MOST_TEMPLATE, "{}", TEMPLATE.len());
    }

    #[test]
    fn what_answers_is_what_a_stack_was_told_and_else_what_its_change_made() {
        let texts = |pairs: &[(&str, &str)]| -> Texts {
            let pairs = pairs.iter();
            pairs
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect()
        };
        let state = State {
            status: "UPDATE_COMPLETE".to_owned(),
            parameters: texts(&[("Live", "3,0,3,3,2,3")]),
            outputs: texts(&[("AdminVersion", "4"), ("CleanupVersion", "1")]),
        };

        assert_eq!(state.newest().parameter(), "4,1,0,0,0,0");
        assert_eq!(state.live().parameter(), "3,1,0,0,0,0");
    }

    #[test]
    fn changes_and_reasons_are_read_of_answers_with_a_namespace() {
        let answer = r#"<R xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeChangeSetResult>
            <Status>CREATE_COMPLETE</Status><Changes><member><Type>Resource</Type><ResourceChange>
            <Action>Modify</Action><LogicalResourceId>Table</LogicalResourceId>
            <ResourceType>AWS::DynamoDB::Table</ResourceType><Replacement>True</Replacement>
            </ResourceChange></member></Changes></DescribeChangeSetResult></R>"#;

        let document = Document::parse(answer).unwrap();

        assert_eq!(
            shown(&document),
            ["Modify Table (AWS::DynamoDB::Table, anew)"]
        );
        let result = document.root_element().first_element_child();
        assert_eq!(child(result, "Status"), Some("CREATE_COMPLETE"));
    }
}
