//! Small types with a constraint, shared by many params.
use super::shape::{Shape, Shaped};
use serde::Deserialize;

/// A string of `MIN` to `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Text<const MIN: usize, const MAX: usize>(pub String);

impl<const MIN: usize, const MAX: usize> Shaped for Text<MIN, MAX> {
    const SHAPE: Shape = Shape::String { chars_min: MIN, chars_max: MAX };
}
impl<const MIN: usize, const MAX: usize> std::ops::Deref for Text<MIN, MAX> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// A string that is not empty.
pub type NonEmpty = Text<1, { usize::MAX }>;

crate::shaped! {
    /// No params at all: any property is a mistake.
    pub struct NoParams {}
}
