//! `#[case]`: a function becomes a case of its test program, under its own name, with its marks beside it.

use proc_macro::{Delimiter, Group, Ident, Span, TokenStream, TokenTree};

/// Registers a function as a case. Each mark is a method of `orlop_integration::Case` of the same name, so that what is no mark does
/// not compile; `needs` takes names of `orlop_integration::Need`.
///
/// ```
/// use orlop_integration::{Sandbox, case};
///
/// #[case]
/// fn plain(_: &Sandbox) {}
///
/// #[case(extension, needs(Host, Admin), not_runc("since runc 1.5"), seconds(300))]
/// fn marked(_: &Sandbox) {}
/// ```
///
/// An unknown mark, an unknown need, and an argument of another type are errors at their places:
///
/// ```compile_fail,E0599
/// # use orlop_integration::{Sandbox, case};
/// #[case(extention)]
/// fn misspelt(_: &Sandbox) {}
/// ```
/// ```compile_fail,E0599
/// # use orlop_integration::{Sandbox, case};
/// #[case(needs(Root))]
/// fn needs_something_unknown(_: &Sandbox) {}
/// ```
/// ```compile_fail,E0308
/// # use orlop_integration::{Sandbox, case};
/// #[case(seconds("300"))]
/// fn takes_a_number(_: &Sandbox) {}
/// ```
/// ```compile_fail
/// # use orlop_integration::{Sandbox, case};
/// #[case(seconds = 300)]
/// fn takes_parentheses(_: &Sandbox) {}
/// ```
#[proc_macro_attribute]
pub fn case(marks: TokenStream, function: TokenStream) -> TokenStream {
    let entry = match entry(marks, &function) {
        Ok(entry) => entry,
        Err(Mistake(at, message)) => {
            let error = ours(&format!("::core::compile_error! {{ {message:?} }}"));
            error.into_iter().map(|token| placed(token, at)).collect()
        }
    };
    [function, entry].into_iter().collect()
}

/// What is wrong, and where.
struct Mistake(Span, &'static str);

/// `submit! { Case::new(module, line, "name", name).mark(…).mark(…) }`
fn entry(marks: TokenStream, function: &TokenStream) -> Result<TokenStream, Mistake> {
    let name = name_of(function).ok_or(Mistake(Span::call_site(), "only a function is a case"))?;
    // The line of the name, not `line!()`: within another macro that would be one line for all.
    let first = format!("::core::module_path!(), {}, \"{name}\",", name.span().line());
    let arguments = [ours(&first), TokenTree::from(name).into()].into_iter().collect();
    let mut case = ours("::orlop_integration::Case::new");
    case.extend([in_group(Delimiter::Parenthesis, arguments)]);
    for mark in split(marks) {
        case.extend(method(mark)?);
    }
    let mut entry = ours("::orlop_integration::inventory::submit!");
    entry.extend([in_group(Delimiter::Brace, case)]);
    Ok(entry)
}

/// The name after `fn`.
fn name_of(function: &TokenStream) -> Option<Ident> {
    let mut tokens = function.clone().into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Some(name),
        _ => None,
    }
}

/// `extension` as `.extension()`, `seconds(300)` as it stands, `needs(Host, Admin)` as `.needs(Need::Host).needs(Need::Admin)`.
fn method(mark: Vec<TokenTree>) -> Result<TokenStream, Mistake> {
    const SHAPE: &str = "a mark is a name, or a name with its arguments in parentheses";
    let mut tokens = mark.into_iter();
    let name = match tokens.next() {
        Some(TokenTree::Ident(name)) => name,
        other => return Err(Mistake(other.map_or_else(Span::call_site, |token| token.span()), SHAPE)),
    };
    let arguments = match (tokens.next(), tokens.next()) {
        (None, None) => TokenStream::new(),
        (Some(TokenTree::Group(group)), None) if group.delimiter() == Delimiter::Parenthesis => group.stream(),
        _ => return Err(Mistake(name.span(), SHAPE)),
    };
    if name.to_string() != "needs" {
        return Ok(call(&name, arguments));
    }
    let need =
        |words| [ours("::orlop_integration::Need::"), TokenStream::from_iter::<Vec<_>>(words)].into_iter().collect();
    Ok(split(arguments).into_iter().map(|words| call(&name, need(words))).collect())
}

fn call(method: &Ident, arguments: TokenStream) -> TokenStream {
    let mut call = ours(".");
    call.extend([TokenTree::from(method.clone()), in_group(Delimiter::Parenthesis, arguments)]);
    call
}

/// What stands between commas.
fn split(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
    let mut parts: Vec<Vec<TokenTree>> = tokens.split(is_comma).map(<[_]>::to_vec).collect();
    // The last comma may be followed by nothing.
    parts.pop_if(|part| part.is_empty());
    parts
}

fn in_group(delimiter: Delimiter, tokens: TokenStream) -> TokenTree {
    Group::new(delimiter, tokens).into()
}

fn placed(mut token: TokenTree, at: Span) -> TokenTree {
    token.set_span(at);
    token
}

#[expect(clippy::expect_used, reason = "the text stands in this file")]
fn ours(text: &str) -> TokenStream {
    text.parse().expect("tokens")
}
