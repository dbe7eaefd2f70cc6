//! Making the table: for tools and tests. Functions have no right to it, and never do it.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::create_table::CreateTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType, TableStatus,
    TimeToLiveSpecification, TimeToLiveStatus,
};

use super::Connection;
use super::failure::{Trouble, trouble};
use super::item::{PK, SK, TTL};
use super::retry::Tries;
use crate::StoreError;

/// Calls until it is answered or is never going to be.
macro_rules! call {
    ($connection:expr, $tries:expr, $request:expr) => {{
        let request = $request;
        loop {
            match request.clone().send().await {
                Ok(answer) => break Ok(answer),
                Err(error) => match trouble(&$connection.place, &error) {
                    Trouble::Passing { why, .. } => $tries.pause(&why).await?,
                    Trouble::Lasting(why) => break Err((error, why)),
                },
            }
        }
    }};
}

/// Makes the table if it is not there, billed by request, and has what expired removed from it.
pub(super) async fn create(connection: &Connection) -> Result<(), StoreError> {
    let invalid =
        |error: aws_sdk_dynamodb::error::BuildError| StoreError::Misuse(error.to_string());
    let mut request = connection
        .client
        .create_table()
        .table_name(&connection.table)
        .billing_mode(BillingMode::PayPerRequest);
    for (name, key_type) in [(PK, KeyType::Hash), (SK, KeyType::Range)] {
        let attribute = AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S);
        let element = KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(key_type);
        request = request
            .attribute_definitions(attribute.build().map_err(invalid)?)
            .key_schema(element.build().map_err(invalid)?);
    }

    let mut tries = Tries::begin(connection);
    match call!(connection, tries, request) {
        Ok(_) => {}
        Err((SdkError::ServiceError(answer), _))
            if matches!(answer.err(), CreateTableError::ResourceInUseException(_)) => {}
        Err((_, why)) => return Err(why),
    }
    until_active(connection, &mut tries).await?;
    enable_ttl(connection, &mut tries).await
}

async fn until_active(connection: &Connection, tries: &mut Tries<'_>) -> Result<(), StoreError> {
    let request = connection
        .client
        .describe_table()
        .table_name(&connection.table);
    loop {
        let answer = call!(connection, tries, request.clone()).map_err(|(_, why)| why)?;
        let status = answer.table.and_then(|table| table.table_status);
        if status == Some(TableStatus::Active) {
            return Ok(());
        }
        // DynamoDB tells nobody when a table is ready.
        tries.pause(&format!("the table is {status:?}")).await?;
    }
}

async fn enable_ttl(connection: &Connection, tries: &mut Tries<'_>) -> Result<(), StoreError> {
    let described = connection
        .client
        .describe_time_to_live()
        .table_name(&connection.table);
    let answer = call!(connection, tries, described).map_err(|(_, why)| why)?;
    let status = answer
        .time_to_live_description
        .and_then(|description| description.time_to_live_status);
    if matches!(
        status,
        Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)
    ) {
        return Ok(());
    }

    let specification = TimeToLiveSpecification::builder()
        .attribute_name(TTL)
        .enabled(true)
        .build()
        .map_err(|error| StoreError::Misuse(error.to_string()))?;
    let request = connection
        .client
        .update_time_to_live()
        .table_name(&connection.table)
        .time_to_live_specification(specification);
    call!(connection, tries, request).map_err(|(_, why)| why)?;
    Ok(())
}
