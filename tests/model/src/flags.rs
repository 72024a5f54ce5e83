//! Switches by name: each one a rule, a kind of fault, or a size.

pub trait Flag: Sized {
    fn parse(text: &str) -> Option<Self>;
}

impl Flag for bool {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        }
    }
}

impl Flag for u8 {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Flag for usize {
    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Flag for String {
    fn parse(text: &str) -> Option<Self> {
        Some(text.into())
    }
}

/// A struct of flags with their defaults; `set` takes `name=value`, and says whether there is such a flag.
#[macro_export]
macro_rules! flags {
    ($(#[$outer:meta])* pub struct $name:ident { $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[$doc])* pub $field: $type,)* }
        impl Default for $name {
            fn default() -> Self { $name { $($field: $default.into(),)* } }
        }
        impl $name {
            pub fn set(&mut self, word: &str) -> bool {
                let Some((name, value)) = word.split_once('=') else { return false };
                match name {
                    $(stringify!($field) => match <$type as $crate::flags::Flag>::parse(value) {
                        Some(value) => { self.$field = value; true }
                        None => false,
                    },)*
                    _ => false,
                }
            }
        }
    };
}
