//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use model::CatalogName;

/// The way in and out: enroll this device, sync the catalog, write its tunnels.
#[derive(Debug, Parser)]
#[command(name = "postern", version, about)]
pub struct Args {
    /// The device file [default: device.json in the system's config folder]
    #[arg(long, global = true, env = "POSTERN_DEVICE", value_name = "FILE")]
    pub device: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Enroll this device with an invite (again, if an earlier attempt was cut off)
    Enroll {
        /// The invite's text, a file that holds it, or - for standard input
        invite: String,
    },
    /// Fetch and verify the newest catalog through any front door; write configs anew that changed
    Sync {
        /// Ask the control plane too, as it does by itself every six hours
        #[arg(long)]
        contact: bool,
    },
    /// Take new keys; tunnels with the old ones work on through a grace
    Rotate,
    /// Show what this device knows
    Status {
        /// Ask the control plane too
        #[arg(long)]
        online: bool,
    },
    /// Choose the gateways to use
    Select {
        /// Choose anew, even if the gateways in use are good
        #[arg(long)]
        again: bool,
        /// The gateway of this tunnel does not work: rest it and take another (repeatable)
        #[arg(long, value_enum, value_name = "HOP")]
        failed: Vec<Hop>,
        /// Prefer this region from now on (repeatable; `any` prefers none)
        #[arg(long = "region", value_name = "REGION")]
        regions: Vec<String>,
    },
    /// Write the tunnel configs for wg-quick
    Config {
        /// Write postern-outer.conf and postern-inner.conf here instead of printing them
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Only this tunnel
        #[arg(long, value_enum)]
        hop: Option<Hop>,
    },
    /// Replay every logged decision and show its reasons
    Explain,
    /// Verify a repository folder or a bundle file, offline
    Verify {
        /// The folder (with metadata/ and targets/) or the bundle file
        path: PathBuf,
        /// Start from this invite's root (text, file or -) instead of this device's trust
        #[arg(long, value_name = "INVITE")]
        invite: Option<String>,
        /// Insist on this catalog [default: check every one that is there]
        #[arg(long, value_name = "CATALOG")]
        catalog: Option<CatalogName>,
    },
}

/// A tunnel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Hop {
    /// To the ingress gateway.
    #[value(alias = "ingress")]
    Outer,
    /// Through it to the egress gateway.
    #[value(alias = "egress")]
    Inner,
}
