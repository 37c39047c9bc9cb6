//! The attribute macro of Brigade: `#[brigade::main]`.

use proc_macro::TokenStream;
use proc_macro2::Span;
use quote::quote;
use syn::{ItemFn, parse_macro_input, spanned::Spanned};

/// Runs the body of `main` as a green thread of the default runtime.
///
/// `#[brigade::main] fn main() { body }` means `fn main() { brigade::run(|| { body }) }`; what `main`
/// returns is returned as usual. The kernel thread that started the program waits until the body has
/// ended; then the process exits, whatever other threads do, as it does in a program without Brigade.
///
/// # Errors
///
/// It is a compile error on anything but a plain function without arguments, and with arguments of its
/// own: to choose the number of workers or the model, use `brigade::runtime::Builder`.
#[proc_macro_attribute]
pub fn main(args: TokenStream, item: TokenStream) -> TokenStream {
    if !args.is_empty() {
        let message = "#[brigade::main] takes no arguments; use brigade::runtime::Builder to configure a runtime";
        return error(Span::call_site(), message);
    }
    let function = parse_macro_input!(item as ItemFn);
    if let Some(token) = &function.sig.asyncness {
        return error(
            token.span(),
            "#[brigade::main] wants a plain fn: blocking code needs no async",
        );
    }
    if !function.sig.inputs.is_empty() {
        return error(
            function.sig.inputs.span(),
            "#[brigade::main] wants a function without arguments",
        );
    }
    let ItemFn {
        attrs,
        vis,
        sig,
        block,
    } = function;
    quote! {
        #(#attrs)*
        #vis #sig {
            ::brigade::run(|| #block)
        }
    }
    .into()
}

fn error(span: Span, message: &str) -> TokenStream {
    syn::Error::new(span, message).to_compile_error().into()
}
