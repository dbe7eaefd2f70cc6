//! The template: what the lint of AWS says of it, and what neither the lint nor the stand-in looks at.

use std::path::Path;
use std::process::Command;

use harness::skipped;
use serde_json::{Value, json};

/// Prints the template as JSON, its short forms spelt out.
const READ: &str = "import sys, json; from cfnlint.decode import cfn_yaml; \
                    print(json.dumps(cfn_yaml.load(sys.argv[1])))";

fn template() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/aws/postern.yaml")
}

/// The interpreter that has AWS's lint; nothing, which is said, where it has not.
fn python(test: &str) -> Option<std::path::PathBuf> {
    let python = emulator::python().filter(|python| {
        let has = Command::new(python).args(["-c", "import cfnlint"]).output();
        has.is_ok_and(|output| output.status.success())
    });
    if python.is_none() {
        skipped(test, "no cfn-lint, infra/scripts/test installs it");
    }
    python
}

/// The template's resources.
fn resources(test: &str) -> Option<Value> {
    let mut read = Command::new(python(test)?);
    let output = read.args(["-c", READ]).arg(template()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let template: Value = serde_json::from_slice(&output.stdout).unwrap();
    Some(template["Resources"].clone())
}

/// The resources of a type, by their names.
fn of_type<'a>(resources: &'a Value, kind: &str) -> Vec<(&'a String, &'a Value)> {
    let all = resources.as_object().unwrap().iter();
    let found: Vec<_> = all.filter(|(_, one)| one["Type"] == kind).collect();
    assert!(!found.is_empty(), "{kind}");
    found
}

#[test]
fn the_lint_of_aws_finds_nothing() {
    let Some(python) = python("cfn-lint") else {
        return;
    };
    let mut lint = Command::new(python);
    lint.args([
        "-c",
        "import sys; from cfnlint.runner import main; sys.exit(main())",
        "--regions",
        "eu-central-1",
        "us-east-1",
        "--template",
    ]);

    let output = lint.arg(template()).output().unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
}

#[test]
fn the_table_is_paid_by_request_recovers_and_forgets_what_expired() {
    let Some(resources) = resources("template-table") else {
        return;
    };
    let table = &resources["Table"]["Properties"];
    assert_eq!(table["BillingMode"], "PAY_PER_REQUEST");
    // As the store names them, which the story shows of the keys.
    let ttl = json!({"AttributeName": "ttl", "Enabled": true});
    assert_eq!(table["TimeToLiveSpecification"], ttl);
    let recovery = json!({"PointInTimeRecoveryEnabled": true});
    assert_eq!(table["PointInTimeRecoverySpecification"], recovery);
    let protected = json!({"Fn::If": ["IsProtected", true, false]});
    assert_eq!(table["DeletionProtectionEnabled"], protected);
}

#[test]
fn buckets_are_closed_and_logs_end() {
    let Some(resources) = resources("template-buckets") else {
        return;
    };
    for (name, bucket) in of_type(&resources, "AWS::S3::Bucket") {
        let closed = bucket["Properties"]["PublicAccessBlockConfiguration"].as_object();
        let closed = closed.unwrap_or_else(|| panic!("{name} says nothing of the public"));
        assert_eq!(closed.len(), 4, "{name}");
        assert!(closed.values().all(|closed| closed == true), "{name}");
    }
    for (name, log) in of_type(&resources, "AWS::Logs::LogGroup") {
        let days = &log["Properties"]["RetentionInDays"];
        assert_eq!(days, &json!({"Ref": "LogDays"}), "{name}");
    }
}

#[test]
fn every_function_has_a_log_a_role_a_secret_versions_and_an_alarm_of_its_own() {
    let Some(resources) = resources("template-functions") else {
        return;
    };
    let functions = of_type(&resources, "AWS::Lambda::Function");
    assert_eq!(functions.len(), 6);
    for (name, function) in functions {
        let properties = &function["Properties"];
        assert_eq!(properties["Runtime"], "provided.al2023", "{name}");
        let role = json!({"Fn::GetAtt": [format!("{name}Role"), "Arn"]});
        assert_eq!(properties["Role"], role, "{name}");
        let log = json!({"LogGroup": {"Ref": format!("{name}Log")}});
        assert_eq!(properties["LoggingConfig"], log, "{name}");
        let secret = json!({"Fn::GetAtt": [format!("{name}Secret"), "Id"]});
        let environment = &properties["Environment"]["Variables"];
        assert_eq!(environment["POSTERN_SECRET"], secret, "{name}");
        // One that answers could not be deleted with the stack otherwise, nor be gone back to.
        let version = &resources[format!("{name}Version")];
        assert_eq!(version["DeletionPolicy"], "Retain", "{name}");
        assert_eq!(version["UpdateReplacePolicy"], "Retain", "{name}");
        let alarm = &resources[format!("{name}Alarm")]["Properties"];
        let watched = json!([{"Name": "FunctionName", "Value": {"Ref": name}}]);
        assert_eq!(alarm["Dimensions"], watched, "{name}");
    }
}

#[test]
fn a_function_url_has_both_rights_that_aws_asks_for() {
    let Some(resources) = resources("template-urls") else {
        return;
    };
    for (name, url) in of_type(&resources, "AWS::Lambda::Url") {
        let function = name.strip_suffix("Url").unwrap();
        assert_eq!(url["Properties"]["Qualifier"], "live", "{name}");
        let asked = &resources[format!("{function}MayBeAsked")]["Properties"];
        assert_eq!(asked["Action"], "lambda:InvokeFunctionUrl", "{name}");
        assert_eq!(asked["FunctionUrlAuthType"], "NONE", "{name}");
        let invoked = &resources[format!("{function}MayBeInvoked")]["Properties"];
        assert_eq!(invoked["Action"], "lambda:InvokeFunction", "{name}");
        assert_eq!(invoked["InvokedViaFunctionUrl"], true, "{name}");
    }
}

#[test]
fn what_runs_measure_has_alarms_of_the_functions_that_measure_it() {
    let docs = include_str!("../../../docs/observability.md");
    let Some(resources) = resources("template-measures") else {
        return;
    };
    let alarms: Vec<_> = of_type(&resources, "AWS::CloudWatch::Alarm")
        .into_iter()
        .map(|(_, alarm)| &alarm["Properties"])
        .filter(|alarm| alarm["Namespace"] == "Postern")
        .collect();

    assert_eq!(alarms.len(), 7);
    for alarm in alarms {
        let Some(name) = alarm["MetricName"].as_str() else {
            // The one that is counted in a log.
            continue;
        };
        assert!(docs.contains(&format!("`{name}`")), "{name}");
        let function = &alarm["Dimensions"][0];
        assert_eq!(function["Name"], "FunctionName", "{name}");
        let by = function["Value"]["Ref"].as_str().unwrap();
        assert_eq!(resources[by]["Type"], "AWS::Lambda::Function", "{name}");
    }
}

#[test]
fn budget_dashboard_and_front_door_say_what_the_stand_in_does_not_do() {
    let Some(resources) = resources("template-rest") else {
        return;
    };
    let dashboard = &resources["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"];
    let dashboard: Value = serde_json::from_str(dashboard.as_str().unwrap()).expect("JSON");
    assert_eq!(dashboard["widgets"].as_array().map(Vec::len), Some(6));
    let budget = &resources["Budget"];
    assert_eq!(budget["Type"], "AWS::Budgets::Budget");
    assert_eq!(budget["Condition"], "HasBudget");
    let door = &resources["FrontDoor"]["Properties"]["DistributionConfig"];
    // CachingOptimized keeps to what objects say; CachingDisabled keeps nothing (AWS, "managed policies").
    let cache = &door["DefaultCacheBehavior"]["CachePolicyId"];
    assert_eq!(cache, "658327ea-f89d-4fab-a63d-7e88639e58f6");
    let behaviours = door["CacheBehaviors"].as_array().unwrap();
    assert_eq!(behaviours.len(), 6);
    for behaviour in behaviours {
        let behaviour = &behaviour["Fn::If"][1];
        assert_eq!(
            behaviour["CachePolicyId"],
            "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        );
        assert_eq!(
            behaviour["ViewerProtocolPolicy"], "https-only",
            "{behaviour}"
        );
    }
}
