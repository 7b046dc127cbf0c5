/** Components that are drawn again only when what they are given changes, for long lists of them. */
import { Component, h } from "../vendor/preact.js";

/** The same component, left alone while each of its properties is the very same as before. */
export function memo(component) {
  return class extends Component {
    shouldComponentUpdate(next) {
      const names = new Set([...Object.keys(this.props), ...Object.keys(next)]);
      return [...names].some((name) => this.props[name] !== next[name]);
    }

    render(props) {
      return h(component, props);
    }
  };
}
