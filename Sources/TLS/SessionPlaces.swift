internal import COpenSSL

/// Where the memory of sessions comes from.
public enum SessionPlaces {
    /// Gives each session a place of the size that OpenSSL's `SSL` has, where the allocator would round it up by half a KiB.
    /// Called once, at the start of the program, before anything of OpenSSL's; later it changes nothing.
    public static func prepare() {
        _ = copenssl_use_places()
    }
}
