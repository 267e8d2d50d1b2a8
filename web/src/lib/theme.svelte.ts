export type Theme = 'auto' | 'light' | 'dark';

export const theme = $state({ value: (localStorage.getItem('skep.theme') ?? 'auto') as Theme });

export function applyTheme(): void {
  const root = document.documentElement;
  if (theme.value === 'auto') delete root.dataset.theme;
  else root.dataset.theme = theme.value;
}

export function setTheme(value: Theme): void {
  theme.value = value;
  localStorage.setItem('skep.theme', value);
  applyTheme();
}
