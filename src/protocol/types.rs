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

/// A value, or null.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct OrNull<T>(pub T);

impl<T: Shaped> Shaped for OrNull<T> {
    const SHAPE: Shape = Shape::AnyOf(&[T::SHAPE, Shape::Null]);
}

/// A list of `MIN` to `MAX`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct List<T, const MIN: usize, const MAX: usize>(pub Vec<T>);

impl<T: Shaped + 'static, const MIN: usize, const MAX: usize> Shaped for List<T, MIN, MAX> {
    const SHAPE: Shape = Shape::Array { item: &T::SHAPE, items_min: MIN, items_max: MAX };
}

/// A list of at least one.
pub type NonEmptyList<T> = List<T, 1, { usize::MAX }>;

crate::shaped! {
    /// No params at all: any property is a mistake.
    pub struct NoParams {}
}

/// The params of a list, with the page that protocol 4 clients ask for. Protocol 3 knows no pages: there these two are mistakes,
/// so the shape does not name them.
#[derive(Deserialize)]
pub struct Paged<P> {
    #[serde(flatten)]
    pub own: P,
    pub limit: Option<usize>,
    pub offset: Option<usize>,
}

impl<P: Shaped> Shaped for Paged<P> {
    const SHAPE: Shape = P::SHAPE;
}

#[cfg(test)]
impl<P: schemars::JsonSchema> schemars::JsonSchema for Paged<P> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> std::borrow::Cow<'static, str> {
        P::schema_name()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        P::json_schema(generator)
    }
}
