//! Finds the shared library for the target `c_texts`.

fn main() {
    println!("cargo::rerun-if-env-changed=B24_LIBRARY_DIR");
    if let Ok(directory) = std::env::var("B24_LIBRARY_DIR") {
        println!("cargo::rustc-link-arg-bin=c_texts=-L{directory}");
        println!("cargo::rustc-link-arg-bin=c_texts=-Wl,-rpath,{directory}");
        println!("cargo::rustc-link-arg-bin=c_texts=-lb24_messageservice");
    }
}
