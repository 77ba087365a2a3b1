//! The image registry as its clients see it: the behaviours that the Distribution Specification
//! asks for, one test per group, on files and on S3; then crashes, garbage and real clients.

mod audit;
mod auth;
mod between;
mod blobs;
mod broken;
mod cache;
mod configuration;
mod crash;
mod denied;
mod fsck;
mod garbage;
mod groups;
mod harbor;
mod heal;
mod health;
mod immutable;
mod labels;
mod large;
mod lists;
mod manage;
mod manifests;
mod page;
mod projects;
mod promote;
mod quota;
mod referrers;
mod refusals;
mod retention;
mod schedule;
mod serve;
mod site;
mod small;
mod tags;
mod tls;
mod uploads;
