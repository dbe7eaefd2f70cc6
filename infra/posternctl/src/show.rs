//! The commands that ask the control plane and show what it says.

use std::net::SocketAddr;

use anyhow::Context;
use api::admin::{
    self, AUDIT, CATALOG, CatalogView, ChangeState, DEVICES, GATEWAYS, GatewayView, INVITES,
    InviteView, NewGateway, NewInvite, WantedState,
};
use api::{BootstrapText, InviteText};
use clap::{Args, Subcommand};
use comfy_table::{Table, presets};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use model::{
    AuditEvent, CohortName, Device, DeviceId, FirstContact, Gateway, GatewayId, Invite, InviteId,
    PoolName, Role, Tag, id,
};
use serde::Serialize;

use crate::profile::Place;
use crate::remote::Remote;
use crate::{now, random};

/// The invite to make.
#[derive(Args, Clone)]
pub struct InviteOptions {
    /// How many devices may enroll with it.
    #[arg(long, default_value_t = 1)]
    pub uses: u32,
    /// For how many days it is good.
    #[arg(long, default_value_t = 7)]
    pub days: u32,
    /// The cohort that its devices join.
    #[arg(long, default_value = "default")]
    pub cohort: CohortName,
    /// The tags that its devices get, as press,staff.
    #[arg(long, value_delimiter = ',')]
    pub tags: Vec<Tag>,
    /// What to remember about it.
    #[arg(long, default_value = "")]
    pub note: String,
    /// List the invites instead of making one.
    #[arg(long)]
    pub list: bool,
    /// Withdraw this invite instead of making one: nobody enrolls with it any more.
    #[arg(long, value_name = "ID", conflicts_with = "list")]
    pub withdraw: Option<InviteId>,
}

/// What to do with devices.
#[derive(Subcommand, Clone)]
pub enum DeviceAction {
    /// Shut a device out, for good.
    Revoke {
        /// Its id.
        id: DeviceId,
    },
    /// Ask a device for new keys: it takes them with its next contact.
    Rotate {
        /// Its id.
        id: DeviceId,
    },
}

/// What to do with gateways.
#[derive(Subcommand, Clone)]
pub enum GatewayAction {
    /// Make the record and the one-time bootstrap token of a gateway.
    Add(GatewayOptions),
    /// Take a gateway out of the catalogs; it serves the devices that it has.
    Drain {
        /// Its id.
        id: GatewayId,
    },
    /// Put a draining gateway back.
    Undrain {
        /// Its id.
        id: GatewayId,
    },
    /// Ask a gateway for new keys: it takes them when it has pulled its next config.
    Rotate {
        /// Its id.
        id: GatewayId,
    },
    /// End a drained, failed or never registered gateway, for good.
    Retire {
        /// Its id.
        id: GatewayId,
    },
}

/// The gateway to make.
#[derive(Args, Clone)]
pub struct GatewayOptions {
    /// What it does: ingress or egress.
    #[arg(long, value_parser = parse_role)]
    pub role: Role,
    /// Where its tunnels are reached (UDP), as 203.0.113.7:51820.
    #[arg(long)]
    pub endpoint: SocketAddr,
    /// Where it stands.
    #[arg(long, default_value = "local")]
    pub region: String,
    /// The pool that policies know it by; its role's name if it is not given.
    #[arg(long)]
    pub pool: Option<PoolName>,
    /// The cohorts whose catalogs may list it.
    #[arg(long, default_value = "default", value_delimiter = ',')]
    pub cohorts: Vec<CohortName>,
    /// Its id, as g- and 4 to 32 lowercase letters or digits; drawn if it is not given.
    #[arg(long)]
    pub id: Option<GatewayId>,
    /// For how many hours the token is good.
    #[arg(long, default_value_t = 24)]
    pub hours: u32,
}

/// Which audit events.
#[derive(Args, Clone)]
pub struct AuditOptions {
    /// The day (UTC) to begin with, as 2026-11-22; today if it is not given.
    #[arg(long)]
    day: Option<Date>,
    /// How many days back from there.
    #[arg(long, default_value_t = 7)]
    days: u32,
}

pub fn parse_role(text: &str) -> Result<Role, String> {
    match text {
        "ingress" => Ok(Role::Ingress),
        "egress" => Ok(Role::Egress),
        _ => Err("it must be 'ingress' or 'egress'".to_owned()),
    }
}

/// `posternctl invite`.
pub async fn invite(place: &Place, options: &InviteOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    if options.list {
        let invites: Vec<InviteView> = remote.list(INVITES).await?;
        return print(
            json,
            &invites,
            &["invite", "cohort", "used", "expires", "note"],
            |view| {
                let invite = &view.invite;
                vec![
                    invite.id.to_string(),
                    invite.cohort.to_string(),
                    format!("{} of {}", view.used, invite.uses),
                    match invite.withdrawn_at {
                        Some(_) => "withdrawn".to_owned(),
                        None => format!("{:.0}", invite.expires_at),
                    },
                    invite.note.clone(),
                ]
            },
        );
    }
    if let Some(id) = &options.withdraw {
        let invite: Invite = remote
            .post(&admin::withdrawal(id), &serde_json::json!({}))
            .await?;
        if json {
            say!("{}", serde_json::to_string(&invite)?);
        } else {
            say!(
                "{} is withdrawn; the devices that it let in stay.",
                invite.id
            );
        }
        return Ok(());
    }
    let (text, invite) = make_invite(&remote, remote.contact_in_force().await?, options).await?;
    if json {
        say!(
            "{}",
            serde_json::json!({"invite": text.to_string(), "id": invite.id, "expires_at": invite.expires_at})
        );
    } else {
        say!("{}", qr(&text.to_string())?);
        say!("{text}\n");
        say!(
            "{} uses until {:.0}, for the cohort {}.",
            invite.uses,
            invite.expires_at,
            invite.cohort
        );
        say!("On the device: postern enroll '<the text above>'");
    }
    Ok(())
}

/// Makes an invite: its secret is drawn here and never sent.
pub async fn make_invite(
    remote: &Remote,
    contact: FirstContact,
    options: &InviteOptions,
) -> anyhow::Result<(InviteText, Invite)> {
    let text = InviteText {
        contact,
        secret: random()?,
    };
    let life = SignedDuration::from_hours(24 * i64::from(options.days));
    let new = NewInvite {
        id: text.id(),
        cohort: options.cohort.clone(),
        tags: options.tags.iter().cloned().collect(),
        uses: options.uses,
        expires_at: after(life)?,
        note: options.note.clone(),
    };
    let invite = remote.post(INVITES, &new).await?;
    Ok((text, invite))
}

/// A text as a QR code for a terminal.
pub fn qr(text: &str) -> anyhow::Result<String> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::with_error_correction_level(text, qrcode::EcLevel::L)?;
    // Dark modules on a terminal's dark background: readers expect them the other way round.
    let mut image = code.render::<Dense1x2>();
    Ok(image
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build())
}

/// `posternctl devices`.
pub async fn devices(
    place: &Place,
    action: Option<DeviceAction>,
    json: bool,
) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let (path, done) = match action {
        None => return list_devices(&remote, json).await,
        Some(DeviceAction::Revoke { id }) => (
            admin::revocation(&id),
            "is shut out: its requests are refused from now on.",
        ),
        Some(DeviceAction::Rotate { id }) => (
            admin::device_rotation(&id),
            "will take new keys with its next contact; the old ones work through the grace.",
        ),
    };
    let device: Device = remote.post(&path, &serde_json::json!({})).await?;
    if json {
        say!("{}", serde_json::to_string(&device)?);
    } else {
        say!("{} {done}", device.id);
    }
    Ok(())
}

async fn list_devices(remote: &Remote, json: bool) -> anyhow::Result<()> {
    let devices: Vec<Device> = remote.list(DEVICES).await?;
    print(
        json,
        &devices,
        &["device", "state", "cohort", "enrolled"],
        |device| {
            let state = format!("{:?}", device.state).to_lowercase();
            let enrolled = format!("{:.0}", device.enrolled_at);
            vec![
                device.id.to_string(),
                state,
                device.cohort.to_string(),
                enrolled,
            ]
        },
    )
}

/// `posternctl gateways`.
pub async fn gateways(
    place: &Place,
    action: Option<GatewayAction>,
    json: bool,
) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let (id, state) = match action {
        None => return list_gateways(&remote, json).await,
        Some(GatewayAction::Add(options)) => return add_gateway(&remote, &options, json).await,
        Some(GatewayAction::Rotate { id }) => return rotate_gateway(&remote, &id, json).await,
        Some(GatewayAction::Drain { id }) => (id, WantedState::Draining),
        Some(GatewayAction::Undrain { id }) => (id, WantedState::Active),
        Some(GatewayAction::Retire { id }) => (id, WantedState::Retired),
    };
    let gateway: Gateway = remote
        .post(&admin::gateway_state(&id), &ChangeState { state })
        .await?;
    if json {
        say!("{}", serde_json::to_string(&gateway)?);
    } else {
        say!(
            "{} is {}; the next catalog says so.",
            gateway.id,
            gateway.state
        );
    }
    Ok(())
}

async fn add_gateway(remote: &Remote, options: &GatewayOptions, json: bool) -> anyhow::Result<()> {
    let (token, gateway) = make_gateway(remote, options).await?;
    if json {
        say!(
            "{}",
            serde_json::json!({"gateway": gateway.id, "token": token.to_string()})
        );
    } else {
        say!("{token}\n");
        say!("On the node, within {} hours:", options.hours);
        say!("postern-gateway --token '<the text above>' --data <folder>");
    }
    Ok(())
}

async fn rotate_gateway(remote: &Remote, id: &GatewayId, json: bool) -> anyhow::Result<()> {
    let path = admin::gateway_rotation(id);
    let gateway: Gateway = remote.post(&path, &serde_json::json!({})).await?;
    if json {
        say!("{}", serde_json::to_string(&gateway)?);
    } else {
        say!(
            "{} will take new keys when it has pulled its next config; the next catalog says so.",
            gateway.id
        );
    }
    Ok(())
}

async fn list_gateways(remote: &Remote, json: bool) -> anyhow::Result<()> {
    let gateways: Vec<GatewayView> = remote.list(GATEWAYS).await?;
    let now = now();
    print(
        json,
        &gateways,
        &["gateway", "role", "state", "region", "endpoint", "seen"],
        |view| {
            let gateway = &view.gateway;
            let seen = view
                .seen_at
                .map(|seen| format!("{} s ago", now.duration_since(seen).as_secs()));
            vec![
                gateway.id.to_string(),
                gateway.role.to_string(),
                gateway.state.to_string(),
                gateway.region.clone(),
                gateway.endpoint.to_string(),
                seen.unwrap_or_else(|| "never".to_owned()),
            ]
        },
    )
}

/// Makes a gateway's record.
async fn make_gateway(
    remote: &Remote,
    options: &GatewayOptions,
) -> anyhow::Result<(BootstrapText, Gateway)> {
    let (token, record) = plan_gateway(remote.contact_in_force().await?, options)?;
    let gateway = remote.post(GATEWAYS, &record).await?;
    Ok((token, gateway))
}

/// The token and the record of a gateway to make: its bootstrap secret is drawn here and never
/// sent.
pub fn plan_gateway(
    contact: FirstContact,
    options: &GatewayOptions,
) -> anyhow::Result<(BootstrapText, NewGateway)> {
    let gateway = match &options.id {
        Some(id) => id.clone(),
        None => GatewayId::from_random(random()?),
    };
    let token = BootstrapText {
        contact,
        gateway,
        secret: random()?,
    };
    let record = NewGateway {
        id: token.gateway.clone(),
        role: options.role,
        region: options.region.clone(),
        endpoint: options.endpoint,
        pool: match &options.pool {
            Some(pool) => pool.clone(),
            None => options.role.to_string().parse()?,
        },
        cohorts: options.cohorts.clone(),
        bootstrap_hash: id::bootstrap_hash(&token.secret),
        bootstrap_expires_at: after(SignedDuration::from_hours(options.hours.into()))?,
    };
    Ok((token, record))
}

/// The time so much later than now.
fn after(life: SignedDuration) -> anyhow::Result<Timestamp> {
    now()
        .checked_add(life)
        .ok()
        .context("that is too far in the future: choose fewer days or hours")
}

/// `posternctl catalog`.
pub async fn catalog(place: &Place, json: bool) -> anyhow::Result<()> {
    let view: CatalogView = Remote::open(place)?.get(CATALOG).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    say!(
        "Version {} was published at {:.0}.",
        view.version,
        view.published_at
    );
    for alarm in &view.alarms {
        say!("ALARM {alarm}");
    }
    Ok(())
}

/// `posternctl audit`.
pub async fn audit(place: &Place, options: &AuditOptions, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let mut day = options.day.unwrap_or_else(|| control::audit::day_of(now()));
    let mut events: Vec<AuditEvent> = Vec::new();
    for _ in 0..options.days {
        events.extend(remote.list(&format!("{AUDIT}?day={day}")).await?);
        day = day.checked_sub(1.day())?;
    }
    print(
        json,
        &events,
        &["at", "who", "did", "to", "detail"],
        |event| {
            vec![
                format!("{:.0}", event.at),
                event.actor.to_string(),
                event.action.clone(),
                event.subject.clone(),
                event.detail.clone(),
            ]
        },
    )
}

/// Prints a list: as one JSON document, or as a table.
pub fn print<T: Serialize>(
    json: bool,
    items: &[T],
    header: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> anyhow::Result<()> {
    if json {
        say!("{}", serde_json::to_string(items)?);
        return Ok(());
    }
    let mut table = table(header);
    for item in items {
        table.add_row(row(item));
    }
    say!("{table}");
    Ok(())
}

/// An empty table with this header.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.to_vec());
    table
}
