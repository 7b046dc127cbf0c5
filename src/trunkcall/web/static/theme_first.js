/** Sets the theme before anything is painted, so that a dark page does not flash white. */
try {
  const theme = localStorage.getItem("trunkcall.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  document.documentElement.dataset.theme = "";
}
