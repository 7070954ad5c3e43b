internal import YAML

// Where the keys of an issuer come from.
extension ModelBuilder {
    /// Of keys that are fetched alone.
    private static let fetching = ["refresh", "cooldown", "cache_file", "keep_if_unreachable"]

    mutating func keySettings(_ node: Node?) -> KeySettings? {
        let map = keys(of: node, "keys", built: ["file", "url"] + Self.fetching)
        switch (map["file"], map["url"]) {
        case (let file?, nil):
            for key in Self.fetching {
                guard let node = map[key] else { continue }
                report(
                    at: node.place,
                    "\(key) is about a key set that is fetched; it goes with url, not with file")
            }
            return path(file, "file").map { .file($0) }
        case (nil, let url?): return fetchedKeys(url, map).map { .url($0) }
        case (_?, let url?):
            report(at: url.place, "keys have exactly one of file and url, found both")
            return nil
        case (nil, nil):
            if map.isPresent { report(at: map.place, "key 'file' or 'url' is missing") }
            return nil
        }
    }

    private mutating func fetchedKeys(_ url: Node, _ map: KeyedValues) -> FetchedKeySettings? {
        let refresh = duration(
            map["refresh"], "refresh", default: 5 * Quantity.minute, ConfigurationBounds.keyRefresh)
        let cooldown = duration(
            map["cooldown"], "cooldown", default: 10 * Quantity.second, ConfigurationBounds.keyCooldown)
        let keep = duration(
            map["keep_if_unreachable"], "keep_if_unreachable", default: 24 * Quantity.hour,
            ConfigurationBounds.keptKeys)
        let cacheFile = path(map["cache_file"], "cache_file")
        guard let text = text(url, "url") else { return nil }
        do {
            return FetchedKeySettings(
                url: Located(try KeyURL(text.value), at: text.place), refreshNanoseconds: refresh,
                cooldownNanoseconds: cooldown, cacheFile: cacheFile, keepNanoseconds: keep)
        } catch {
            report(
                at: text.place,
                "url must be such as https://auth.example.com/.well-known/jwks.json, found \(text.value.shown): \(error.text)"
            )
            return nil
        }
    }
}
