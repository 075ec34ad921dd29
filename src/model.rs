//! Plain data and pure functions: no async, no input or output, no other layer.

pub mod access;
pub mod catalog;
pub mod cloud;
pub mod diff;
pub mod dns;
pub mod draft;
pub mod event;
pub mod failure;
pub mod lease;
pub mod machine;
pub mod money;
pub mod name;
pub mod playbook;
pub mod problem;
pub mod question;
pub mod rented;
pub mod resource;
pub mod secret;
pub mod service;
pub mod system;
pub mod tuning;
pub mod value;
pub mod visible;
