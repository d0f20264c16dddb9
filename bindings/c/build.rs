//! What the linker is told about the shared library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let major = env!("CARGO_PKG_VERSION_MAJOR");
    let apple = std::env::var("CARGO_CFG_TARGET_VENDOR").is_ok_and(|vendor| vendor == "apple");
    let elf =
        std::env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "unix") && !apple;
    if elf {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libb24_messageservice.so.{major}");
        // A host that unloads its extensions (PHP does, after each request) must not pull code
        // from under a resolver thread, nor drop the pooled connections.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
    if apple {
        // Programs find it by their own rpath, wherever it is installed.
        println!(
            "cargo:rustc-cdylib-link-arg=-Wl,-install_name,@rpath/libb24_messageservice.{major}.dylib"
        );
    }
}
