//! Every language on recorded streams.
