internal import COpenSSL

/// Where the memory of sessions comes from.
public enum SessionPlaces {
    /// Gives each session a place of the size that OpenSSL's `SSL` has, where the allocator would round it up by half a KiB.
    /// Called once, at the start of the program, before anything of OpenSSL's; later it changes nothing.
    public static func prepare() {
        _ = copenssl_use_places()
    }

    /// The bytes of the places that sessions have, which the allocator's own account does not know.
    public static var takenBytes: Int {
        copenssl_places_taken() * Int(COPENSSL_PLACE_BYTES)
    }
}
