//! `posternctl costs`: what a network costs a month on a cloud, before anything is deployed.
//!
//! It asks nobody: usage is [`rules::costs`], prices are of a list, `docs/costs.md` says from when.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, Table, presets};
use rules::costs::{Prices, Size, Tier, Usage, bill, usage};

/// Bytes of a gigabyte, as clouds count it.
const GIGABYTE: f64 = 1e9;

/// How large the network is, and where.
#[derive(Args)]
pub struct Options {
    /// Devices that are enrolled.
    #[arg(long)]
    devices: u32,
    /// Gateways that are in service.
    #[arg(long)]
    gateways: u32,
    /// Gateways that one catalog lists, if not all are in each.
    #[arg(long)]
    listed: Option<u32>,
    /// Buckets that catalogs are published to.
    #[arg(long, default_value_t = 2)]
    mirrors: u32,
    /// Seconds from one heartbeat of a gateway to the next.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3600))]
    heartbeat: u32,
    /// Seconds from one run of the schedule to the next.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    schedule: u32,
    /// Syncs of a device a day.
    #[arg(long, default_value_t = 24)]
    syncs: u32,
    /// New catalogs a day.
    #[arg(long, default_value_t = 4)]
    catalogs: u32,
    /// Devices that enroll a month; a tenth of them, if it is not given.
    #[arg(long)]
    enrollments: Option<u32>,
    /// Whose prices.
    #[arg(long, value_enum, default_value_t = Cloud::Aws)]
    cloud: Cloud,
    /// A file of other prices, in the form that '--json' prints them.
    #[arg(long, value_name = "FILE")]
    prices: Option<PathBuf>,
}

/// A cloud whose prices are known.
#[derive(Clone, Copy, ValueEnum)]
pub enum Cloud {
    /// Lambda (arm64, 256 MB), `DynamoDB`, S3 and `CloudFront`, in us-east-1.
    Aws,
    /// Workers (paid plan) and R2, with `DynamoDB` in us-east-1.
    Cloudflare,
}

const fn tier(price: f64, free: f64) -> Tier {
    Tier { price, free }
}

impl Cloud {
    /// The list prices of November 2026, in US dollars.
    const fn prices(self) -> Prices {
        match self {
            Self::Aws => Prices {
                // Six secrets; sixteen alarms and fifteen metrics, ten of each free.
                base: 4.50,
                invocations: tier(0.20, 1.0),
                // 1,000 seconds of a quarter of a GB at 0.0000133334 a GB and second; 400,000 of those are free.
                milliseconds: tier(0.003_333_35, 1_600.0),
                paid_share: 1.0,
                read_units: 0.125,
                write_units: 0.625,
                stored: 0.45,
                logged: tier(0.50, 5.0),
                puts: tier(5.0, 0.0),
                gets: tier(0.40, 0.0),
                door_requests: tier(1.0, 10.0),
                sent: tier(0.085, 1_000.0),
            },
            Self::Cloudflare => Prices {
                base: 5.0,
                invocations: tier(0.30, 10.0),
                milliseconds: tier(0.02, 30.0),
                // Measured: 26 of a run's 300 ms, and less of a request's.
                paid_share: 0.1,
                read_units: 0.125,
                write_units: 0.625,
                stored: 0.45,
                // Twenty million lines are in the plan.
                logged: tier(0.0, 0.0),
                puts: tier(4.50, 1.0),
                gets: tier(0.36, 10.0),
                door_requests: tier(0.36, 10.0),
                sent: tier(0.0, 0.0),
            },
        }
    }
}

/// `posternctl costs`.
pub fn run(options: &Options, json: bool) -> anyhow::Result<()> {
    let size = size(options);
    let prices = match &options.prices {
        None => options.cloud.prices(),
        Some(path) => {
            let shown = path.display();
            let bytes = std::fs::read(path).with_context(|| shown.to_string())?;
            serde_json::from_slice(&bytes).with_context(|| {
                format!("{shown} holds no prices: 'posternctl --json costs …' prints their form as 'prices'")
            })?
        }
    };
    let usage = usage(&size);
    let whole = usage
        .iter()
        .fold(Usage::default(), |sum, (_, one)| sum.plus(*one));
    let bill = bill(&whole, &prices);
    let total: f64 = bill.iter().map(|(_, dollars)| dollars).sum();
    if json {
        let object = |lines: &[(&'static str, f64)]| -> serde_json::Map<_, _> {
            let lines = lines.iter();
            lines
                .map(|(what, dollars)| ((*what).to_owned(), (*dollars).into()))
                .collect()
        };
        let usage: serde_json::Map<_, _> = usage
            .iter()
            .map(|(what, one)| Ok(((*what).to_owned(), serde_json::to_value(one)?)))
            .collect::<Result<_, serde_json::Error>>()?;
        let document = serde_json::json!({
            "size": size, "usage": usage, "prices": prices, "dollars_a_month": object(&bill),
            "total": total,
        });
        say!("{document}");
        return Ok(());
    }

    say!("{}\n", work(&usage, &whole));
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["paid for", "USD a month"]);
    for (what, dollars) in &bill {
        table.add_row([(*what).to_owned(), format!("{dollars:.2}")]);
    }
    table.add_row(["all".to_owned(), format!("{total:.2}")]);
    right(&mut table, 1);
    say!("{table}\n");
    say!(
        "An estimate from list prices, without taxes and without the gateways' own servers and traffic."
    );
    Ok(())
}

fn size(options: &Options) -> Size {
    let (devices, gateways) = (f64::from(options.devices), f64::from(options.gateways));
    Size {
        devices,
        gateways,
        listed: options.listed.map_or(gateways, f64::from),
        mirrors: options.mirrors.into(),
        heartbeat: options.heartbeat.into(),
        schedule: options.schedule.into(),
        syncs: options.syncs.into(),
        catalogs: options.catalogs.into(),
        enrollments: options.enrollments.map_or(devices / 10.0, f64::from),
    }
}

/// What each kind of work takes.
fn work(usage: &[(&'static str, Usage)], whole: &Usage) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "in a month",
        "invocations",
        "read units",
        "write units",
        "objects written",
        "and read",
        "door requests",
        "GB sent",
        "GB kept",
    ]);
    for (what, one) in usage.iter().chain([&("all", *whole)]) {
        let counts = [
            one.invocations,
            one.read_units,
            one.write_units,
            one.puts,
            one.gets,
            one.door_requests,
        ];
        let bytes = [one.sent_bytes, one.stored_bytes].map(|bytes| bytes / GIGABYTE);
        let cells = counts.iter().map(|count| format!("{count:.0}"));
        let cells = cells.chain(bytes.iter().map(|gigabytes| format!("{gigabytes:.3}")));
        table.add_row(std::iter::once((*what).to_owned()).chain(cells));
    }
    for column in 1..9 {
        right(&mut table, column);
    }
    table
}

fn right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}
