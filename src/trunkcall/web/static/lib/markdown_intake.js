/** A growing text as it is read: lines end alike, and pictures that stand in it are set aside, for they are long. */

const PICTURE = /\]\(<?data:image\/(?:png|jpeg|webp|gif);base64,/g;
const BEGUN = /\]\(?<?(?:d|da|dat|data|data:[a-z/;\d]{0,20})?$/;
const PLACE = /(\]\(<?)data:(\d+)/g;
const BASE64 = /[A-Za-z0-9+/=]*/y;
const SHORTEST = 200;

/** `text` is what has been taken in; `pictures` are their addresses, which `data:N` stands for in it. */
export class Intake {
  constructor() {
    this.text = "";
    this.pictures = [];
    this._source = "";
    this._at = 0;
  }

  /** Take in a longer source; whole: nothing comes behind it. False when it is no continuation of the last. */
  take(source, whole) {
    if (!source.startsWith(this._source)) return false;
    this._source = source;
    let end = source.length;
    if (!whole && source.endsWith("\r")) end -= 1;
    let added = "";
    while (this._at < end) {
      PICTURE.lastIndex = this._at;
      const found = PICTURE.exec(source);
      if (found === null) {
        const begun = whole ? null : BEGUN.exec(source.slice(Math.max(this._at, end - 40), end));
        const until = begun ? end - begun[0].length : end;
        added += source.slice(this._at, until);
        this._at = until;
        break;
      }
      const begin = source.indexOf("data:", found.index);
      BASE64.lastIndex = PICTURE.lastIndex;
      const length = PICTURE.lastIndex - begin + BASE64.exec(source)[0].length;
      if (!whole && begin + length === end) {
        added += source.slice(this._at, found.index);
        this._at = found.index;
        break;
      }
      const address = source.slice(begin, begin + length);
      added += source.slice(this._at, begin) + (length < SHORTEST ? address : this._setAside(address));
      this._at = begin + length;
    }
    this.text += added.replace(/\r\n?/g, "\n");
    return true;
  }

  /** A text of it as it was in the source. */
  restored(text) {
    if (this.pictures.length === 0) return text;
    return text.replace(PLACE, (whole, before, number) => before + (this.pictures[number] ?? `data:${number}`));
  }

  _setAside(address) {
    return `data:${this.pictures.push(address) - 1}`;
  }
}
