//! What every HTTP client of this program needs: names looked up with a deadline, and the proxy of the environment.
pub mod dns;
pub mod proxy;
