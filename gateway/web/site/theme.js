// Applies the chosen theme before anything is painted. Without a choice, the system's applies.
{
  let theme = null;
  try {
    theme = localStorage.getItem("similis-theme");
  } catch {
    // Storage is blocked.
  }
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
}
