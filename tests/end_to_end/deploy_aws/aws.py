"""Asks a stand-in for AWS, by AWS's own client: aws.py URL left|roles|functions|occupy|vacate. Prints JSON."""

import io
import json
import sys
import zipfile

import botocore.session

URL, WHAT = sys.argv[1:]
SESSION = botocore.session.get_session()
SESSION.set_credentials("test", "test")


def client(service):
    return SESSION.create_client(service, region_name="eu-central-1", endpoint_url=URL)


def left():
    """All that a deployment could leave, of every type that the template has."""
    found = {
        "stacks": [
            stack["StackName"]
            for stack in client("cloudformation").describe_stacks()["Stacks"]
            if stack["StackStatus"] != "DELETE_COMPLETE"
        ],
        "tables": client("dynamodb").list_tables()["TableNames"],
        "buckets": [bucket["Name"] for bucket in client("s3").list_buckets()["Buckets"]],
        "secrets": [
            secret["Name"]
            for secret in client("secretsmanager").list_secrets(IncludePlannedDeletion=True)["SecretList"]
        ],
        "functions": [one["FunctionName"] for one in client("lambda").list_functions()["Functions"]],
        "roles": [
            role["RoleName"]
            for role in client("iam").list_roles()["Roles"]
            if not role["Path"].startswith("/aws-service-role/")
        ],
        "log groups": [group["logGroupName"] for group in client("logs").describe_log_groups()["logGroups"]],
        "schedules": [one["Name"] for one in client("scheduler").list_schedules()["Schedules"]],
        "alarms": [one["AlarmName"] for one in client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "dashboards": [one["DashboardName"] for one in client("cloudwatch").list_dashboards()["DashboardEntries"]],
        "topics": [one["TopicArn"] for one in client("sns").list_topics()["Topics"]],
    }
    cloudfront = client("cloudfront")
    found["distributions"] = [
        one["Id"] for one in cloudfront.list_distributions()["DistributionList"].get("Items", [])
    ]
    found["origin access"] = [
        one["Id"]
        for one in cloudfront.list_origin_access_controls()["OriginAccessControlList"].get("Items", [])
    ]
    return found


def roles():
    """What each role may do: lists of actions with the resources, by the role's name."""
    iam = client("iam")
    allowed = {}
    for role in iam.list_roles()["Roles"]:
        name = role["RoleName"]
        statements = []
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            document = iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]
            statements += document["Statement"]
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        allowed[name] = {"statements": statements, "attached": [one["PolicyName"] for one in attached]}
    return allowed


def functions():
    """Each function's versions and the one that is live, and what its environment shows."""
    aws = client("lambda")
    found = {}
    for one in aws.list_functions()["Functions"]:
        name = one["FunctionName"]
        versions = [version["Version"] for version in aws.list_versions_by_function(FunctionName=name)["Versions"]]
        found[name] = {
            "versions": versions,
            "live": aws.get_alias(FunctionName=name, Name="live")["FunctionVersion"],
            "environment": one["Environment"]["Variables"],
        }
    return found


def occupy():
    """Somebody else's function, with an alias and a URL, has a name that a deployment wants."""
    aws = client("lambda")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("bootstrap", "#!/bin/sh")
    aws.create_function(
        FunctionName=TAKEN,
        Runtime="provided.al2023",
        Handler="bootstrap",
        Role=next(role["Arn"] for role in client("iam").list_roles()["Roles"] if "Role" in role["RoleName"]),
        Code={"ZipFile": archive.getvalue()},
    )
    aws.create_alias(FunctionName=TAKEN, Name="live", FunctionVersion="$LATEST")
    aws.create_function_url_config(FunctionName=TAKEN, Qualifier="live", AuthType="NONE")
    return {}


def vacate():
    """What occupy made is gone."""
    aws = client("lambda")
    for remove, also in [
        (aws.delete_function_url_config, {"Qualifier": "live"}),
        (aws.delete_function, {}),
    ]:
        try:
            remove(FunctionName=TAKEN, **also)
        except aws.exceptions.ResourceNotFoundException:
            pass
    return {}


TAKEN = "postern-register"
ASKED = {"left": left, "roles": roles, "functions": functions, "occupy": occupy, "vacate": vacate}
print(json.dumps(ASKED[WHAT]()))
