//! The Workers' wrangler configurations (`infra/cloudflare/<function>.jsonc`): what the platform would be
//! told of each, and so what `workerd` is told here.
//!
//! A function gets the bindings that are declared there and no other, the modules, the rules of the
//! platform, its routes and its cron triggers.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::Value;

/// Every function.
pub const FUNCTIONS: [&str; 6] = [
    "enroll",
    "register",
    "admin",
    "publish",
    "reconcile",
    "cleanup",
];
/// The host in the routes, in the place of which a deployment puts its own.
const HOST: &str = "control.example.org";

/// Which paths go to which function: what a path begins with. Every runtime's front says the same.
pub static ROUTES: LazyLock<Vec<(String, &'static str)>> = LazyLock::new(|| {
    let of = |function: &'static str| {
        let prefixes = Wrangler::of(function).prefixes;
        prefixes.into_iter().map(move |prefix| (prefix, function))
    };
    FUNCTIONS.into_iter().flat_map(of).collect()
});

/// A Worker's configuration.
#[derive(Clone, Debug)]
pub struct Wrangler {
    /// The name of its first module.
    pub main: String,
    /// The rules of the platform that it wants.
    pub compatibility_date: String,
    /// Changes to them.
    pub compatibility_flags: Vec<String>,
    /// What the paths begin with that it answers.
    pub prefixes: Vec<String>,
    /// When it is woken.
    pub crons: Vec<String>,
    /// The names of its variables; secrets that need not be there among them.
    pub vars: Vec<String>,
    /// The names of the secrets without which it is not deployed.
    pub secrets: Vec<String>,
}

impl Wrangler {
    /// Where the configuration of `function` is.
    pub fn path(function: &str) -> PathBuf {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/cloudflare");
        folder.join(format!("{function}.jsonc"))
    }

    /// The configuration of `function`.
    pub fn of(function: &str) -> Self {
        let path = Self::path(function);
        let text = std::fs::read_to_string(&path);
        let text = text.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let plain: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        let read: Value = serde_json::from_str(&plain)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(read["name"], format!("postern-{function}"), "{path:?}");
        let main = text_of(&read["main"]);
        let folder = format!("../../target/functions/{function}-worker/");
        let main = main.strip_prefix(&folder).expect("what is built");
        let prefixes = list(&read["routes"]).iter().map(|route| {
            let pattern = text_of(&route["pattern"]);
            let path = pattern.strip_prefix(HOST).expect("the host to be replaced");
            let prefix = path.strip_suffix('*').expect("all that begins so");
            prefix.to_owned()
        });
        let vars = read["vars"].as_object().expect("it is told something");
        Self {
            main: main.to_owned(),
            compatibility_date: text_of(&read["compatibility_date"]),
            compatibility_flags: texts(&read["compatibility_flags"]),
            prefixes: prefixes.collect(),
            crons: texts(&read["triggers"]["crons"]),
            vars: vars.keys().cloned().collect(),
            secrets: texts(&read["secrets"]["required"]),
        }
    }

    /// Fails unless a binding of this name is declared; what is too long for one stands in several.
    pub fn check_declares(&self, name: &str) {
        let declared = |name: &str| {
            let mut all = self.vars.iter().chain(&self.secrets);
            all.any(|declared| declared == name)
        };
        let of_part = name.rsplit_once('_').filter(|(_, number)| {
            let number = number.parse::<u32>();
            number.is_ok_and(|number| number > 1)
        });
        let is_part = of_part.is_some_and(|(whole, _)| declared(whole));
        assert!(
            declared(name) || is_part,
            "the wrangler configuration declares no {name}: {self:?}"
        );
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value) -> Vec<String> {
    list(value).iter().map(text_of).collect()
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
