/** Markdown's tokens as nodes. No HTML is ever put together or parsed: what a model wrote can only become text. */
import { codeBlock } from "./markdown_code.js";
import { decoded } from "./markdown_entities.js";
import { textNodes } from "./markdown_text.js";
import { formula } from "./mathematics.js";
import { t } from "./strings.js";

const DEEPEST = 60;
const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);
const LONGEST_ADDRESS = 4000;
const PICTURE = /^data:image\/(?:png|jpeg|webp|gif);base64,[A-Za-z0-9+/]+={0,2}$/;
/** HTML that models write within a line, where it has no attributes; all other is shown as the text that it is. */
const TAGS = new Set(["b", "strong", "i", "em", "u", "s", "del", "ins", "mark", "small", "sub", "sup", "kbd"]);
const TAG = /^<(\/?)([a-z]+)\s*(\/?)>$/i;
const LARGEST_START = 2 ** 31 - 1;

/** The address that a link may have, null when it may have none: absolute, of the web or of mail. */
export function linkAddress(href) {
  if (href.length > LONGEST_ADDRESS) return null;
  try {
    const url = new URL(decoded(href));
    return PROTOCOLS.has(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

/**
 * Writes tokens as nodes. inside(token): its tokens, as lexed gives it; intake: the Intake that the text came through.
 */
export class MarkdownNodes {
  constructor(inside, intake) {
    this._inside = inside;
    this._intake = intake;
    this._depth = 0;
  }

  /** The nodes of one block's token; none for definitions and blank lines. */
  block(token) {
    switch (token.type) {
      case "paragraph":
        return [element("p", {}, this._line(token))];
      case "heading":
        return [element(`h${Math.min(6, token.depth + 2)}`, { class: `level-${token.depth}` }, this._line(token))];
      case "code":
        return [codeBlock(this._intake.restored(token.text), decoded(token.lang ?? ""))];
      case "blockquote":
        return [element("blockquote", {}, this._deeper(token, () => token.tokens.flatMap((one) => this.block(one))))];
      case "list":
        return [this._list(token)];
      case "table":
        return [this._table(token)];
      case "formula":
        return [element("p", {}, [formula(token.text, token.display)])];
      case "hr":
        return [element("hr")];
      case "text":
        return this._line(token);
      case "checkbox":
        return [tick(token.checked)];
      case "def":
      case "space":
        return [];
      default:
        return textNodes(token.raw);
    }
  }

  /** The items of a list's token; loose: they are paragraphs even if this part has no blank lines. */
  items(token, loose = token.loose) {
    return token.items.map((item) => {
      const content = this._deeper(item, () => item.tokens.flatMap((one) => this._ofItem(one, loose)));
      return element("li", item.task ? { class: "task" } : {}, content);
    });
  }

  /** The rows of a table's token, without its head. */
  rows(token) {
    return token.rows.map((row) => element("tr", {}, row.map((cell) => this._cell("td", cell))));
  }

  _ofItem(token, loose) {
    if (token.type === "paragraph" && !loose) return this._line(token);
    if (token.type === "text" && loose) return [element("p", {}, this._line(token))];
    return this.block(token);
  }

  _list(token) {
    const start = token.ordered && token.start !== 1 ? { start: Math.min(token.start, LARGEST_START) } : {};
    return element(token.ordered ? "ol" : "ul", start, this.items(token));
  }

  _table(token) {
    const head = element("tr", {}, token.header.map((cell) => this._cell("th", cell)));
    const table = element("table", {}, [element("thead", {}, [head]), element("tbody", {}, this.rows(token))]);
    const frame = { class: "table-frame", tabindex: 0, role: "group", "aria-label": t("markdown.table") };
    return element("div", frame, [table]);
  }

  _cell(name, cell) {
    return element(name, cell.align ? { class: `align-${cell.align}` } : {}, this._line(cell));
  }

  /** The text of a token. */
  _line(token) {
    return this._deeper(token, () => {
      const top = { nodes: [], name: "" };
      const open = [top];
      for (const one of this._inside(token)) this._take(one, open);
      for (; open.length > 1; ) close(open);
      return top.nodes;
    });
  }

  _take(token, open) {
    const tag = token.type === "html" ? TAG.exec(token.raw) : null;
    const name = tag?.[2].toLowerCase();
    if (name === "br") {
      open.at(-1).nodes.push(element("br"));
    } else if (tag && TAGS.has(name) && !tag[1] && !tag[3] && open.length < 10) {
      open.push({ nodes: [], name });
    } else if (tag?.[1] && open.length > 1 && open.at(-1).name === name) {
      close(open);
    } else {
      open.at(-1).nodes.push(...this._inline(token));
    }
  }

  _inline(token) {
    switch (token.type) {
      case "text":
        if (token.tokens) return this._line(token);
        return textNodes(token.escaped === false ? decoded(token.text) : token.text);
      case "escape":
        return textNodes(token.text);
      case "strong":
      case "em":
      case "del":
        return [element(token.type, {}, this._line(token))];
      case "codespan":
        return [element("code", {}, textNodes(this._intake.restored(token.text)))];
      case "br":
        return [element("br")];
      case "checkbox":
        return [tick(token.checked)];
      case "formula":
        return [formula(token.text, token.display)];
      case "link":
        return this._link(token);
      case "image":
        return [this._image(token)];
      default:
        return textNodes(token.raw);
    }
  }

  _link(token) {
    const address = linkAddress(token.href);
    if (address === null) return textNodes(token.raw);
    return [link(address, this._line(token))];
  }

  /** Pictures of other hosts would tell them who reads; they become links. */
  _image(token) {
    const alt = decoded(token.text);
    const source = this._intake.pictures[/^data:(\d+)$/.exec(token.href)?.[1]] ?? token.href;
    if (PICTURE.test(source)) return element("img", { src: source, alt, decoding: "async" });
    const address = linkAddress(source);
    const told = textNodes(alt ? t("markdown.image", { alt }) : t("markdown.image_unnamed"));
    return address === null ? element("span", { class: "no-image" }, told) : link(address, told);
  }

  _deeper(token, write) {
    if (this._depth >= DEEPEST) return textNodes(token.raw ?? token.text);
    this._depth += 1;
    const nodes = write();
    this._depth -= 1;
    return nodes;
  }
}

function close(open) {
  const { name, nodes } = open.pop();
  open.at(-1).nodes.push(element(name, {}, nodes));
}

function link(address, content) {
  const away = { target: "_blank", rel: "noopener noreferrer nofollow" };
  return element("a", { href: address, ...away, title: address }, content);
}

function tick(checked) {
  const label = checked ? t("markdown.done") : t("markdown.to_do");
  return element("span", { class: checked ? "tick-box done" : "tick-box", role: "img", "aria-label": label });
}

function element(name, attributes = {}, content = []) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}
