//! Each example, run as its readers would run it: as processes that are killed and frozen, against an API
//! server on a free port.

#![cfg(unix)]

mod controllers;
mod hello;
mod notify;
mod operator;
mod reminder;
mod replicate;
mod stage;
mod tasks;
mod web;
