//! THE PLAN: which subnets and addresses are held, and which to give next. Pure and deterministic.
pub mod prefix;
pub mod settings;
