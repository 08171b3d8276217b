//! The shape of every struct of options.

/// A struct of options: public fields, room for more of them, and a setter for each, to be chained.
macro_rules! options {
    ($(#[$about:meta])* pub struct $name:ident { $($(#[$doc:meta])* pub $field:ident: $kind:ty,)* }) => {
        $(#[$about])*
        #[non_exhaustive]
        pub struct $name { $($(#[$doc])* pub $field: $kind,)* }

        impl $name { $(
            #[doc = concat!("Sets [`", stringify!($field), "`](field@", stringify!($name), "::", stringify!($field), ").")]
            #[must_use]
            pub fn $field(mut self, value: impl Into<$kind>) -> Self {
                self.$field = value.into();
                self
            }
        )* }
    };
}

pub(crate) use options;
