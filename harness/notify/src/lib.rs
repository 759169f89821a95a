//! Tells people how something ended, through a webhook: that of Slack, and of what accepts its
//! form, or one that takes plain JSON.
//!
//! ```rust
//! use notify::{Colour, Message, slack_body};
//!
//! let message = Message::new("baseline", "whole", Colour::Good).field("Lost", "0");
//! assert_eq!(slack_body(&message)["text"], "baseline: whole");
//! ```
//!
//! The address of a webhook is a secret, because whoever knows it can write there. So it is in no
//! error, and nothing here prints it.

mod json;
mod message;
mod slack;
mod webhook;

pub use self::json::json_body;
pub use self::message::{Colour, Link, Message};
pub use self::slack::slack_body;
pub use self::webhook::{Form, Limits, NotifyError, Webhook};
