// Texts of others, as nodes. Nothing here or elsewhere on this page makes HTML of a string: the page's policy forbids it.

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };

/** The text that search escaped. */
export function unescaped(text) {
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity]);
}

/** What search found, its words between `<em>` and `</em>` marked; any other tag stays the text that it is. */
export function highlighted(text) {
  const nodes = [];
  let isMarked = false;
  for (const piece of text.split(/(<\/?em>)/)) {
    if (piece === "<em>" || piece === "</em>") {
      isMarked = piece === "<em>";
    } else if (piece !== "") {
      nodes.push(isMarked ? element("mark", unescaped(piece)) : unescaped(piece));
    }
  }
  return nodes;
}

/** An element that holds texts and other elements. */
export function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

/** A time of the services, as this reader's place writes it. */
export function time(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}
