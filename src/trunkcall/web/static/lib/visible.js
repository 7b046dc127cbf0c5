/** What goes on only while its tab is looked at, as a browser opens few connections to a server. */

/** begin: gives how to end; called now and when the tab comes to sight again. Gives how to stop for good. */
export function whileVisible(begin) {
  let end = null;
  const turn = () => {
    if (document.visibilityState === "visible") end ??= begin();
    else {
      end?.();
      end = null;
    }
  };
  turn();
  document.addEventListener("visibilitychange", turn);
  return () => {
    document.removeEventListener("visibilitychange", turn);
    end?.();
  };
}
